# SPDX-License-Identifier: MIT
# Completion of hark(1) for bash. Needs nothing else: not even bash-completion.

_hark_names()
{
    local path

    for path in /run/hark/*/control ${XDG_RUNTIME_DIR:+"$XDG_RUNTIME_DIR"/hark/*/control}; do
        [[ -S $path ]] && path=${path%/control} && printf '%s\n' "${path##*/}"
    done
}

_hark_units()
{
    local directory path
    local -a directories

    IFS=: read -r -a directories <<<"${SYSTEMD_UNIT_PATH-}"
    for directory in "${directories[@]}" /etc/systemd/system /run/systemd/system \
        /usr/local/lib/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
        for path in "$directory"/*.socket; do
            [[ -e $path ]] && printf '%s\n' "${path##*/}"
        done
    done
}

# Each word that begins with what was typed, from the lines of standard input.
_hark_offer()
{
    local line

    while IFS= read -r line; do
        [[ $line == "$cur"* ]] && COMPREPLY+=("$line")
    done
}

_hark_offer_words()
{
    printf '%s\n' "$@" | sort -u
}

_hark_offer_files()
{
    compopt -o filenames 2>/dev/null
    _hark_offer < <(compgen "$@" -- "$cur")
}

# Directories, and the files of sockets in them.
_hark_offer_units()
{
    _hark_offer_files -d
    _hark_offer < <(compgen -f -X '!*.socket' -- "$cur")
    _hark_offer < <(_hark_units | sort -u)
}

_hark_offer_values()
{
    case $1 in
    --unit-path) _hark_offer_files -d ;;
    --control | --listen | -l) _hark_offer_files -f ;;
    --ignore) _hark_offer < <(_hark_offer_words sandbox) ;;
    --report) _hark_offer < <(_hark_offer_words exits failures none) ;;
    --log-level)
        _hark_offer < <(_hark_offer_words emerg alert crit err warning notice info debug)
        ;;
    --owner) _hark_offer < <(compgen -u -- "$cur") ;;
    --setenv | -E) _hark_offer < <(compgen -e -- "$cur") ;;
    --signal | -s)
        _hark_offer < <(compgen -A signal -- "SIG${cur#SIG}" | { [[ $cur == SIG* ]] && cat || cut -c4-; })
        ;;
    esac
}

# The long options of a verb; those with "=" take a value.
_hark_options()
{
    local serve='--stop-timeout= --fork-servers= --report= --log-level='
    local units='--unit-path= --ignore= --user'

    printf '%s\n' --help --version
    case $1 in
    run) printf '%s\n' $units $serve --name= --control= ;;
    activate)
        printf '%s\n' --listen= --datagram --seqpacket --fdname= --mode= --owner= \
            --lock-timeout= --accept --inetd --setenv= --max-connections= --stay-on-cpu \
            --stay-in-session --once $serve
        ;;
    check) printf '%s\n' --json $units ;;
    adopt) printf '%s\n' --dry-run --runtime --sandboxed --user --yes ;;
    release) printf '%s\n' --dry-run --now --timeout= --user ;;
    status)
        printf '%s\n' --handlers --watch --follow --json --openmetrics --check --timeout=
        ;;
    reload | drain | stop) printf '%s\n' --all --timeout= ;;
    kill) printf '%s\n' --signal= --timeout= ;;
    esac
}

_hark_verbs='run activate check adopt release status reload drain stop kill'

# Whether this option takes a value that is the next word.
_hark_takes_word()
{
    case $1 in
    -l | -E | -s) return 0 ;;
    --*) _hark_options "$verb" | grep -qx -- "$1=" ;;
    *) return 1 ;;
    esac
}

# The program of activate is the first word that is neither an option nor the value of one.
_hark_has_program()
{
    local i word before=

    for ((i = 2; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        = | -*) ;;
        *) [[ $before == = ]] || _hark_takes_word "$before" || return 0 ;;
        esac
        before=$word
    done
    return 1
}

_hark_offer_arguments()
{
    case $verb in
    run | check | adopt | release) _hark_offer_units ;;
    activate)
        if _hark_has_program; then
            _hark_offer_files -f
        else
            _hark_offer_files -c
        fi
        ;;
    status | reload | drain | stop | kill)
        if [[ $cur == */* ]]; then
            _hark_offer_files -f
        else
            _hark_offer < <(_hark_names)
        fi
        ;;
    esac
}

_hark()
{
    local cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local verb=${COMP_WORDS[1]} option=

    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        _hark_offer < <(_hark_offer_words $_hark_verbs --help --version)
        return
    fi
    # "--option=value" is three words, or one where "=" does not divide.
    if [[ $cur == = ]]; then
        option=$previous cur=
    elif [[ $previous == = ]]; then
        option=${COMP_WORDS[COMP_CWORD - 2]}
    elif [[ $cur == --*=* ]]; then
        option=${cur%%=*} cur=${cur#*=}
    elif _hark_takes_word "$previous"; then
        option=$previous
    fi
    if [[ -n $option ]]; then
        _hark_offer_values "$option"
    elif [[ $cur == -* ]] && ! { [[ $verb == activate ]] && _hark_has_program; }; then
        _hark_offer < <(_hark_options "$verb")
        [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace 2>/dev/null
    else
        _hark_offer_arguments
    fi
}

complete -F _hark hark
