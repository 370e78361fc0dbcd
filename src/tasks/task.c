/* task.c - the table of tasks, from tasks.def. Depends on the tasks' own files. */
#include "tasks/task.h"
#include "base/os.h"
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

lar_status lar_task_can_write(const char *path, lar_err *e)
{
    lar_file *f;
    const lar_status s = lar_file_create(path, &f, e);
    lar_file_abort(f);
    return s;
}
