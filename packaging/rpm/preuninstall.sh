# The last one, not an update.
if [ "$1" -eq 0 ]; then
    [ ! -d /run/systemd/system ] ||
        systemctl --no-reload disable --now sdg-cdi-refresh.service sdg-agent.service || :
    /usr/lib/sdg/forget-engines
fi
