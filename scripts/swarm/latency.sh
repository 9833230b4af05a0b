# shellcheck shell=bash disable=SC2034,SC2154 # parts share their variables
# One body of 100 kB on average from a peer that holds it: over QUIC alone, and through a node's JSON-RPC, with the lookup, the
# check against the header, and the item as text.

section_latency() {
    local count=400 flags
    make_era items 1024 160000
    common_flags
    # It offers nobody what it serves.
    start_peer holder 25100 run --seed "$era/archives" --bootnodes none
    start_peer asker 25200 run --bootnodes "$("$cairn" enr --rpc http://127.0.0.1:25101)"
    until_true 60 serves 127.0.0.1:25101
    read -ra flags <<< "$(crowd_flags holder 25100)"
    # Archives are checked when they are read for the first time.
    "$crowd" items "${flags[@]}" 0 1024 > "$dir/asked"
    "$crowd" items "${flags[@]}" 0 $count > "$dir/asked"
    awk '{ print $1 / 1000, $2 }' "$dir/asked" | percentiles "over QUIC alone"

    # The first lookup asks the other way and dials.
    ask portal_historyGetContent 1000 10 > "$dir/asked"
    until_true 20 is_connected
    # Headers, which bodies are checked against, come from the other peer too: the first time, and the second time not.
    ask portal_historyGetContent 0 $count > "$dir/asked"
    percentiles "first lookup" < "$dir/asked"
    ask portal_historyGetContent 0 $count > "$dir/asked"
    percentiles "the same again" < "$dir/asked"
    ask portal_historyLocalContent 0 $count 25101 > "$dir/asked"
    percentiles "from the holder itself" < "$dir/asked"
    stop
    rm -rf "$dir/peers"
}

is_connected() {
    rpc 127.0.0.1:25201 cairn_swarm | grep -q '"nodeId"'
}

# Asks for bodies, one after another over one connection: ask METHOD FIRST COUNT [PORT]. Prints the milliseconds of each and the
# bytes of its item, which are half of its digits.
ask() {
    local number key
    for number in $(seq "$2" $(($2 + $3 - 1))); do
        # The key of a body: 0, and the number, little-endian.
        key=$(printf '%016x' "$number" | fold -w2 | tac | tr -d '\n')
        printf 'next\nurl = "http://127.0.0.1:%d"\noutput = "%s"\nheader = "content-type: application/json"\n' \
            "${4:-25201}" "$dir/item"
        printf 'data = "{\\"jsonrpc\\":\\"2.0\\",\\"id\\":1,\\"method\\":\\"%s\\",\\"params\\":[\\"0x00%s\\"]}"\n' "$1" "$key"
        printf 'write-out = "%%{time_total} %%{size_download}\\n"\n'
    done > "$dir/curl.config"
    curl -s -K "$dir/curl.config" | awk '{ print $1 * 1000, $2 / 2 }'
}

# Milliseconds and bytes, a line each.
percentiles() {
    sort -n | awk -v name="$1" '{ t[NR] = $1; bytes += $2 } END {
        printf "%-24s median %5.2f ms, p90 %5.2f ms, p99 %5.2f ms, %d items of %.0f kB\n",
            name, t[int((NR + 1) / 2)], t[int(NR * 0.9)], t[int(NR * 0.99)], NR, bytes / NR / 1000 }'
}
