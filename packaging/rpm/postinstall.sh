# First installation, not an update: the distribution's presets say what is enabled.
if [ "$1" -eq 1 ] && [ -d /run/systemd/system ]; then
    systemctl --no-reload preset sdg-cdi-refresh.service sdg-agent.service || :
fi
