/* complete.c - completion scripts for bash, zsh and fish, from the verb and field tables. */
#include "app/app.h"
#include <string.h>

typedef int flags_fn(const cli_verb *v, const cli_args *a);

/* Call `fn` for every verb with its flags loaded. */
static int each_verb(const cli_args *from, flags_fn *fn)
{
    int code = CLI_OK;
    for (size_t i = 0; i < cli_n_verbs && code == CLI_OK; i++) {
        cli_args a = {.ui = from->ui};
        lar_err e = {0};
        code = cli_args_load(&a, cli_verbs[i], &e) == LAR_OK ? fn(cli_verbs[i], &a)
                                                             : cli_report(from, &e);
        cli_args_free(&a);
    }
    return code;
}

static bool takes_model(const cli_verb *v)
{
    return (v->groups & CLI_G_MODEL) != 0;
}

static bool is_file(const cli_flag *f)
{
    return f->unit && strcmp(f->unit, "FILE") == 0;
}

/* In single quotes for a shell, with what `also` names made harmless by a backslash. */
static void quoted(const char *s, const char *also)
{
    putchar('\'');
    for (; s && *s; s++) {
        if (*s == '\'')
            fputs("'\\''", stdout);
        else if (strchr(also, *s))
            printf("\\%c", *s);
        else
            putchar(*s);
    }
    putchar('\'');
}

static void choices_spaced(const char *list)
{
    for (const char *p = list; *p; p++)
        putchar(*p == '|' ? ' ' : *p);
}

static void verb_names(void)
{
    for (size_t i = 0; i < cli_n_verbs; i++)
        printf("%s%s", i ? " " : "", cli_verbs[i]->name);
}

/* ---- bash ----------------------------------------------------------------------------------- */

static int bash_verb(const cli_verb *v, const cli_args *a)
{
    printf("        %s) flags='", v->name);
    for (size_t i = 0; i < a->n_flags; i++)
        printf("%s--%s%s", i ? " " : "",
               a->flags[i].type == CLI_BOOL && a->flags[i].def_on ? "no-" : "", a->flags[i].name);
    printf("'; model=%d\n            case $prev in\n", takes_model(v));
    for (size_t i = 0; i < a->n_flags; i++) {
        const cli_flag *f = &a->flags[i];
        if (f->type == CLI_BOOL)
            continue;
        printf("                --%s", f->name);
        if (f->letter)
            printf("|-%c", f->letter);
        if (f->choices) {
            printf(") words='");
            choices_spaced(f->choices);
            printf("'; want=words ;;\n");
        } else {
            printf(") want=%s ;;\n", strcmp(f->name, "model") == 0 ? "model"
                                     : is_file(f)                  ? "file"
                                                                   : "none");
        }
    }
    printf("            esac ;;\n");
    return CLI_OK;
}

static int bash(const cli_args *a)
{
    printf("# bash completion for lar; made by `lar completion bash`\n_lar() {\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} "
           "verb=${COMP_WORDS[1]}\n"
           "    local flags='' model=0 want='' words='' verbs='");
    verb_names();
    printf("'\n    COMPREPLY=()\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
           "        mapfile -t COMPREPLY < <(compgen -W \"$verbs --help --version\" -- \"$cur\")\n"
           "        return\n    fi\n    case $verb in\n");
    int code = each_verb(a, bash_verb);
    printf("    esac\n"
           "    case $verb in\n"
           "        help) words=$verbs; want=words ;;\n"
           "        completion) words='bash zsh fish'; want=words ;;\n"
           "    esac\n"
           "    case $want in\n"
           "        words) mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\"); return ;;\n"
           "        file) mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return ;;\n"
           "        none) return ;;\n"
           "    esac\n"
           "    if [ -z \"$want\" ] && [ \"${cur#-}\" != \"$cur\" ]; then\n"
           "        mapfile -t COMPREPLY < <(compgen -W \"$flags\" -- \"$cur\")\n"
           "    elif [ \"$want\" = model ] || [ \"$model\" = 1 ]; then\n"
           "        mapfile -t COMPREPLY < <(compgen -W \"$(lar list --names 2>/dev/null)\" -- "
           "\"$cur\"; "
           "compgen -f -X '!*.gguf' -- \"$cur\"; compgen -d -S / -- \"$cur\")\n"
           "    fi\n}\ncomplete -o bashdefault -F _lar lar ./lar\n");
    return code;
}

/* ---- zsh ------------------------------------------------------------------------------------ */

static void zsh_action(const cli_flag *f)
{
    if (f->choices) {
        printf("\":value:(");
        choices_spaced(f->choices);
        printf(")\"");
    } else if (strcmp(f->name, "model") == 0) {
        printf("':model:_lar_models'");
    } else {
        printf(is_file(f) ? "':file:_files'" : "':value: '");
    }
}

static int zsh_verb(const cli_verb *v, const cli_args *a)
{
    printf("        %s)\n            _arguments -s", v->name);
    for (size_t i = 0; i < a->n_flags; i++) {
        const cli_flag *f = &a->flags[i];
        printf(" \\\n                %s--%s%s", f->type == CLI_STRINGS ? "'*'" : "",
               f->type == CLI_BOOL && f->def_on ? "no-" : "", f->name);
        quoted("[", "");
        quoted(f->help ? f->help : "", "[]:\\");
        quoted("]", "");
        if (f->type != CLI_BOOL)
            zsh_action(f);
        if (f->letter) {
            printf(" \\\n                -%c", f->letter);
            quoted("[", "");
            quoted(f->help ? f->help : "", "[]:\\");
            quoted("]", "");
            if (f->type != CLI_BOOL)
                zsh_action(f);
        }
    }
    if (takes_model(v))
        printf(" \\\n                '1:model:_lar_models'");
    if (strcmp(v->name, "completion") == 0)
        printf(" \\\n                '1:shell:(bash zsh fish)'");
    if (strcmp(v->name, "help") == 0) {
        printf(" \\\n                '1:verb:(");
        verb_names();
        printf(")'");
    }
    printf(" ;;\n");
    return CLI_OK;
}

static int zsh(const cli_args *a)
{
    printf("#compdef lar\n# zsh completion for lar; made by `lar completion zsh`\n"
           "_lar_models() {\n"
           "    local -a names\n"
           "    names=(${(f)\"$(lar list --names 2>/dev/null)\"})\n"
           "    _alternative 'names:model:compadd -a names' 'files:file:_files -g \"*.gguf\"'\n}\n"
           "_lar() {\n    local -a verbs\n    verbs=(\n");
    for (size_t i = 0; i < cli_n_verbs; i++) {
        printf("        ");
        quoted(cli_verbs[i]->name, "");
        quoted(":", "");
        quoted(cli_verbs[i]->help, ":");
        putchar('\n');
    }
    printf("    )\n    if (( CURRENT == 2 )); then\n        _describe verb verbs\n        return\n "
           "   fi\n"
           "    local verb=$words[2]\n    shift words\n    (( CURRENT-- ))\n    case $verb in\n");
    int code = each_verb(a, zsh_verb);
    printf("    esac\n}\n"
           "if [[ $funcstack[1] == _lar ]]; then _lar \"$@\"; else compdef _lar lar; fi\n");
    return code;
}

/* ---- fish ----------------------------------------------------------------------------------- */

static int fish_verb(const cli_verb *v, const cli_args *a)
{
    printf("complete -c lar -n __fish_use_subcommand -f -a %s -d ", v->name);
    quoted(v->help, "\\");
    putchar('\n');
    if (takes_model(v))
        printf("complete -c lar -n '__fish_seen_subcommand_from %s' -a '(lar list --names "
               "2>/dev/null)'\n",
               v->name);
    for (size_t i = 0; i < a->n_flags; i++) {
        const cli_flag *f = &a->flags[i];
        printf("complete -c lar -n '__fish_seen_subcommand_from %s' -l %s%s", v->name,
               f->type == CLI_BOOL && f->def_on ? "no-" : "", f->name);
        if (f->letter)
            printf(" -s %c", f->letter);
        if (f->choices) {
            printf(" -x -a '");
            choices_spaced(f->choices);
            putchar('\'');
        } else if (strcmp(f->name, "model") == 0) {
            printf(" -r -a '(lar list --names 2>/dev/null)'");
        } else if (f->type != CLI_BOOL) {
            printf(is_file(f) ? " -r" : " -x");
        }
        printf(" -d ");
        quoted(f->help ? f->help : "", "\\");
        putchar('\n');
    }
    return CLI_OK;
}

static int fish(const cli_args *a)
{
    printf("# fish completion for lar; made by `lar completion fish`\n");
    int code = each_verb(a, fish_verb);
    printf("complete -c lar -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'\n"
           "complete -c lar -n '__fish_seen_subcommand_from help' -f -a '");
    verb_names();
    printf("'\n");
    return code;
}

int cli_verb_completion(cli_args *a)
{
    static const struct {
        const char *name;
        int (*print)(const cli_args *a);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    const char *want = a->n_words == 1 ? a->words[0] : "";
    for (size_t i = 0; i < LAR_LEN(shells); i++)
        if (strcmp(shells[i].name, want) == 0)
            return shells[i].print(a);
    cli_error(&a->ui,
              *want ? "no completion for '%.40s'; want bash, zsh or fish"
                    : "which shell%s? bash, zsh or fish",
              want);
    cli_hint(&a->ui, "lar help completion");
    return CLI_USAGE;
}
