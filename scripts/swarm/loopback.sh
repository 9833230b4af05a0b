# An era from four seeders and from one: cairn, torrent clients, bare copies, in turns, so that all meet the same machine.

section_loopback() {
    local count client kind run names server
    make_era era 8192 100000
    local bytes
    bytes=$(stat -c %s "$archive")
    echo "an ere file of $bytes bytes; medians of $runs runs after one that does not count; CPU of all processes together"
    for count in 4 1; do
        names=()
        declare -A commands=() servers=()
        start_seeders "$count"
        names+=("cairn") commands[cairn]=$(printf '%q ' "${fetch[@]}") servers[cairn]="${seeders[*]}"
        for client in aria2c rqbit; do
            if ! has_all "$client" transmission-create opentracker curl; then
                echo "$client: not here with transmission-create and opentracker: left out"
                continue
            fi
            start_tracker "$client"
            torrent_seeders "$client" "$count"
            until_true 60 has_seeds "$count"
            torrent_fetch "$client"
            names+=("$client") commands[$client]=$(printf '%q ' "${fetch[@]}") servers[$client]="${seeders[*]}"
        done
        for kind in quic tcp; do
            start_copies "$kind" "$count"
            names+=("bare-$kind") servers[bare-$kind]="${seeders[*]}"
            commands[bare-$kind]="$(printf '%q ' "$copy" fetch "$kind" "$bytes") ${addresses[*]}"
        done
        for run in $(seq 0 "$runs"); do
            for name in "${names[@]}"; do
                rm -rf "$dir/fetched" "$dir/leech"
                eval "timed $name '${servers[$name]}' ${commands[$name]}"
                [ -e "$dir/$name.failed" ] && continue
                case $name in
                    bare-*) ;;
                    cairn) check_fetched ;;
                    *) cmp "$archive" "$dir/leech/$(basename "$archive")" || fail "$name: another file" ;;
                esac
            done
        done
        printf '\nfrom %s\n' "$count"
        table "$bytes" "${names[@]}"
        stop
        rm -rf "$dir/peers" "$dir/leech"
    done
}

# Whether all of these programs are there. `command -v` with several names is content with one.
has_all() {
    local tool
    for tool; do
        command -v "$tool" > "$dir/which" || return
    done
}

# Starts senders of bare bytes. Sets `seeders` and `addresses`.
start_copies() {
    local i file
    seeders=() addresses=()
    for i in $(seq "$2"); do
        file=$dir/copy-$1-$i
        rm -f "$file"
        "$copy" serve "$1" > "$file" 2>&1 &
        pids+=($!)
        seeders+=($!)
        until_true 10 test -s "$file"
        addresses+=("$(cat "$file")")
    done
}
