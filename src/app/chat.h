/* chat.h - what chat.c and chat_cmd.c share. */
#ifndef LAR_APP_CHAT_H
#define LAR_APP_CHAT_H
#include "app/app.h"

typedef struct cli_chat {
    cli_args *a;
    cli_client c;
    cli_edit *edit;
    cli_answer answer;
    json_t *messages; /* the conversation; the client keeps it, the session reuses its prefix */
    bool multiline, quit, show_thinking;
    int interrupts; /* Ctrl-C at an empty prompt, in a row */
} cli_chat;

/* Answer the conversation as it stands; its last message is the user's. */
void cli_chat_answer(cli_chat *ch);
/* Carry out "/name arguments". */
void cli_chat_command(cli_chat *ch, const char *line);
extern const char *const cli_chat_names[]; /* NULL-terminated, for Tab */
void cli_chat_greet(cli_chat *ch);
bool cli_chat_add(cli_chat *ch, const char *role, const char *text, size_t n);
/* The role of the last message; "" when there is none. */
const char *cli_chat_last_role(const cli_chat *ch);

#endif
