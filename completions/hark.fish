# SPDX-License-Identifier: MIT
# Completion of hark(1) for fish.

function __hark_needs_verb
    test (count (commandline -opc)) -eq 1
end

function __hark_verb
    set -l words (commandline -opc)
    test (count $words) -ge 2; and contains -- $words[2] $argv
end

function __hark_units
    for directory in (string split : -- "$SYSTEMD_UNIT_PATH") /etc/systemd/system \
            /run/systemd/system /usr/local/lib/systemd/system /usr/lib/systemd/system
        for path in $directory/*.socket
            string replace -r '.*/' '' -- $path
        end
    end
    __fish_complete_suffix .socket
end

function __hark_names
    for path in /run/hark/*/control $XDG_RUNTIME_DIR/hark/*/control
        test -S $path; and string replace -r '.*/([^/]+)/control$' '$1' -- $path
    end
end

complete -c hark -f
complete -c hark -s h -l help -d 'Show the help and exit'
complete -c hark -l version -d 'Show the version and exit'

complete -c hark -n __hark_needs_verb -a run -d 'Serve socket units as systemd would'
complete -c hark -n __hark_needs_verb -a activate -d 'Listen on sockets, run a program for their traffic'
complete -c hark -n __hark_needs_verb -a check -d 'Say what becomes of each line in units'
complete -c hark -n __hark_needs_verb -a adopt -d 'Hand socket units that systemd runs to hark'
complete -c hark -n __hark_needs_verb -a release -d 'Hand them back'
complete -c hark -n __hark_needs_verb -a status -d 'Show what hark is doing'
complete -c hark -n __hark_needs_verb -a reload -d 'Have hark read its units again'
complete -c hark -n __hark_needs_verb -a drain -d 'Have hark end when its handlers have'
complete -c hark -n __hark_needs_verb -a stop -d 'Have hark end, and its handlers'
complete -c hark -n __hark_needs_verb -a kill -d 'Send a signal to a handler'

complete -c hark -n '__hark_verb run check adopt release' -a '(__hark_units)'
complete -c hark -n '__hark_verb status reload drain stop kill' -a '(__hark_names)'
complete -c hark -n '__hark_verb activate' -a '(__fish_complete_command)'

complete -c hark -n '__hark_verb run check' -l unit-path -x -a '(__fish_complete_directories)' -d 'Look for units here first'
complete -c hark -n '__hark_verb run check' -l ignore -x -a sandbox -d 'Run without these keys'
complete -c hark -n '__hark_verb run check adopt release' -l user -d 'Units of a user\'s manager'
complete -c hark -n '__hark_verb run activate' -l stop-timeout -x -d 'From SIGTERM to SIGKILL'
complete -c hark -n '__hark_verb run activate' -l fork-servers -x -d 'Processes that create handlers'
complete -c hark -n '__hark_verb run activate' -l report -x -a 'exits failures none' -d 'Which exits are reported'
complete -c hark -n '__hark_verb run activate' -l log-level -x -a 'emerg alert crit err warning notice info debug' -d 'What is written'
complete -c hark -n '__hark_verb run' -l name -x -d 'Name of this hark'
complete -c hark -n '__hark_verb run' -l control -r -F -d 'Path of the control socket'

complete -c hark -n '__hark_verb activate' -s l -l listen -r -F -d 'Listen on this address'
complete -c hark -n '__hark_verb activate' -s d -l datagram -d 'Datagram sockets'
complete -c hark -n '__hark_verb activate' -l seqpacket -d 'Sequential packet sockets'
complete -c hark -n '__hark_verb activate' -l fdname -x -d 'Names of the sockets'
complete -c hark -n '__hark_verb activate' -l mode -x -d 'Mode of a socket with a path'
complete -c hark -n '__hark_verb activate' -l owner -x -a '(__fish_complete_users)' -d 'Its owner'
complete -c hark -n '__hark_verb activate' -l lock-timeout -x -d 'How long to wait for the last owner'
complete -c hark -n '__hark_verb activate' -s a -l accept -d 'One process for each connection'
complete -c hark -n '__hark_verb activate' -l inetd -d 'The socket is standard input and output'
complete -c hark -n '__hark_verb activate' -s E -l setenv -x -d 'An environment variable for the program'
complete -c hark -n '__hark_verb activate' -l max-connections -x -d 'How many handlers at once'
complete -c hark -n '__hark_verb activate' -l stay-on-cpu -d 'Handlers stay on the CPU of their fork server'
complete -c hark -n '__hark_verb activate' -l stay-in-session -d 'Handlers have no session of their own'
complete -c hark -n '__hark_verb activate' -l once -d 'End with the status of the program'

complete -c hark -n '__hark_verb adopt release' -l dry-run -d 'Change nothing'
complete -c hark -n '__hark_verb adopt' -l runtime -d 'Until the next boot only'
complete -c hark -n '__hark_verb adopt' -l sandboxed -d 'Serve in a service without rights'
complete -c hark -n '__hark_verb adopt' -s y -l yes -d 'Do not ask'
complete -c hark -n '__hark_verb release' -l now -d 'Restart the socket if there is no other way'
complete -c hark -n '__hark_verb release' -l timeout -x -d 'How long clients may have to wait'

complete -c hark -n '__hark_verb check status' -l json -d 'For programs'
complete -c hark -n '__hark_verb status' -l handlers -d 'Also each handler that runs'
complete -c hark -n '__hark_verb status' -l watch -d 'Again and again'
complete -c hark -n '__hark_verb status' -l follow -d 'Each exit as it happens'
complete -c hark -n '__hark_verb status' -l openmetrics -d 'For Prometheus'
complete -c hark -n '__hark_verb status' -l check -d 'Only an exit status'
complete -c hark -n '__hark_verb status reload drain stop kill' -l timeout -x -d 'How long to wait for an answer'
complete -c hark -n '__hark_verb reload drain stop' -s a -l all -d 'Every hark that runs'
complete -c hark -n '__hark_verb kill' -s s -l signal -x -a '(__fish_make_completion_signals; string split " " -- $__kill_signals | string match -r "[A-Z]+[0-9]*")' -d 'A name or number'
