# shellcheck shell=bash disable=SC2034,SC2154 # parts share their variables
# A fetch that is killed twenty times, at moments spread over all of it: it comes out right, and little is fetched twice.

section_kills() {
    local kills=20 kill whole before needed queued wire wire_once="" pid
    make_era era 8192 100000
    whole=$(stat -c %s "$archive")
    start_seeders 4
    # The least of three: retransmissions differ.
    for kill in 1 2 3; do
        wire=$(loopback_bytes)
        before=$(uploaded)
        "${fetch[@]}" > "$dir/fetch.out" 2>&1 || fail "$(tail -3 "$dir/fetch.out")"
        wire=$(($(loopback_bytes) - wire))
        needed=$(($(uploaded) - before))
        check_fetched
        [ "${wire_once:-$wire}" -lt "$wire" ] || wire_once=$wire
    done
    before=$(uploaded)

    wire=$(loopback_bytes)
    for kill in $(seq "$kills"); do
        "${fetch[@]}" > "$dir/fetch.out" 2>&1 &
        pid=$!
        # What is kept comes to the size of the file in the end.
        until [ "$(kept)" -ge $((whole * kill / (kills + 1))) ]; do
            kill -0 "$pid" || fail "a fetch ended by itself: $(tail -3 "$dir/fetch.out")"
            sleep 0.005
        done
        kill -KILL "$pid"
        wait "$pid" 2> "$dir/wait.log" || true
    done
    "${fetch[@]}" > "$dir/fetch.out" 2>&1 || fail "$(tail -3 "$dir/fetch.out")"
    queued=$(($(uploaded) - before))
    wire=$(($(loopback_bytes) - wire))
    check_fetched
    echo "killed $kills times: the file is right"
    awk -v once="$wire_once" -v all="$wire" -v needed="$needed" -v queued="$queued" 'BEGIN {
        printf "on the wire: %.1f MB without a kill, %.1f MB with: %.2f %% are fetched twice\n",
            once / 1e6, all / 1e6, (all / once - 1) * 100
        printf "of %.1f MB of items, seeders count %.1f MB as sent: they count what waits to be sent when a connection ends\n",
            needed / 1e6, queued / 1e6 }'
    stop
    rm -rf "$dir/peers"
}

# Bytes of the hidden files of an archive that is being fetched.
kept() {
    find "$dir/fetched" -name '*.spool' -printf '%s\n' 2> "$dir/find.log" | awk '{ sum += $1 } END { printf "%d", sum }'
}

# Bytes that went over the loopback interface, which nobody else uses.
loopback_bytes() {
    awk '$1 == "lo:" { print $2 }' /proc/net/dev
}
