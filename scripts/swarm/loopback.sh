# shellcheck shell=bash disable=SC2034,SC2154 # parts share their variables
# An era from four seeders and from one: cairn, torrent clients, and what the machine can do at all, in turns, so that all meet the
# same machine. Blocks of 100 kB, as mainnet's are, and of 400 kB.

section_loopback() {
    local clients
    find_clients
    echo "medians of $runs runs after one that does not count; CPU of all processes together; peak and wakings of the one that is timed"
    echo "floors: cairn verify on two threads, digests of the file's bytes on one, bytes that nobody checks by QUIC and TCP"
    loopback_of era 8192 100000
    # Two eras at a time would need twice the disk.
    rm -rf "$era" "$dir/torrents"
    loopback_of large 2048 400000
}

# A table for four seeders and one for one: loopback_of NAME BLOCKS BLOCK_SIZE
loopback_of() {
    local count client kind run name names bytes
    local -A commands servers
    make_era "$@"
    bytes=$(stat -c %s "$archive")
    for count in 4 1; do
        printf '\n%s blocks of %s bytes, an ere file of %s bytes, from %s\n' "$2" "$3" "$bytes" "$count"
        names=() commands=() servers=()
        common_flags
        row verify "" "$cairn" verify --threads 2 --chain "$era/chain.json" --trust "$era/trust" "$archive"
        row sha1sum "" sha1sum "$archive"
        row keccak "" "$keccak" "$archive"
        for kind in quic-aes quic-chacha tcp; do
            start_copies "$kind" "$count"
            row "bare-$kind" "${seeders[*]}" "$copy" fetch "${kind%%-*}" "$bytes" "${addresses[@]}"
        done
        start_seeders "$count"
        row cairn "${seeders[*]}" "${fetch[@]}"
        for client in "${clients[@]}"; do
            start_torrent "$client" "$count"
            row "$client" "${seeders[*]}" "${fetch[@]}"
        done
        for run in $(seq 0 "$runs"); do
            for name in "${names[@]}"; do
                empty_folders
                eval "timed $name '${servers[$name]}' ${commands[$name]}"
                is_sound "$name" || continue
                case $name in
                    cairn) check_fetched ;;
                    aria2c | rqbit) check_leech "$name" ;;
                esac
            done
            [ "$run" != 0 ] || at_rest cairn "${servers[cairn]}"
        done
        table "$bytes" "${names[@]}"
        stop
        rm -rf "$dir/peers"
    done
}

# Notes a row of the table: row NAME "SERVERS' PIDS" COMMAND…
row() {
    names+=("$1")
    servers[$1]=$2
    commands[$1]=$(printf '%q ' "${@:3}")
}
