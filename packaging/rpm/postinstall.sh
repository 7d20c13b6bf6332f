# First installation, not an update: the distribution's presets say what is enabled.
if [ "$1" -eq 1 ]; then
    [ ! -d /run/systemd/system ] ||
        systemctl --no-reload preset sdg-cdi-refresh.service sdg-agent.service || :
    systemctl --quiet is-enabled sdg-agent.service 2>/dev/null ||
        echo 'sdg: sdg-agent is off: watchdog = "kill" stops no process that has more than its slice. Switch it on: systemctl enable --now sdg-agent'
fi
