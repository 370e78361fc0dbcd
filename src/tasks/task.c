/* task.c - the table of tasks, from tasks.def. Depends on the tasks' own files. */
#include "tasks/task.h"
#include <string.h>

#define TASK(name) extern const lar_task_def lar_task_def_##name;
#include "tasks/tasks.def"
#undef TASK

const lar_task_def *const lar_tasks[] = {
#define TASK(name) &lar_task_def_##name,
#include "tasks/tasks.def"
#undef TASK
};
const int lar_n_tasks = (int)LAR_LEN(lar_tasks);

const lar_task_def *lar_task_find(const char *name)
{
    for (int i = 0; name && i < lar_n_tasks; i++)
        if (strcmp(lar_tasks[i]->name, name) == 0)
            return lar_tasks[i];
    return NULL;
}
