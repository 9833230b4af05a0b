# shellcheck shell=bash disable=SC2034,SC2154 # parts share their variables
# An era from three honest peers and one that flips a byte in a hundredth of its blocks: it comes out right, the liar is barred,
# and nobody else is.

section_liar() {
    local record node_id flags barred
    make_era era 8192 100000
    common_flags
    # Its record is that of a peer with its key and ports, which goes before it comes.
    start_peer liar 25090 run --bootnodes none
    record=$("$cairn" enr --rpc http://127.0.0.1:25091)
    stop
    start_seeders 3
    read -ra flags <<< "$(crowd_flags liar 25090)"
    "$liar" "${flags[@]}" "$dir/peers/seeder1/node.key" 127.0.0.1:26010 > "$dir/liar" 2> "$dir/liar.log" &
    pids+=($!)
    until_true 10 test -s "$dir/liar"
    node_id=$(cat "$dir/liar")

    fetch[2]=info # instead of errors only
    "${fetch[@]}" --bootnodes "$record,$bootnodes" > "$dir/fetch.out" 2>&1 || fail "$(tail -3 "$dir/fetch.out")"
    check_fetched
    echo "the file is right"
    barred=$(grep -a "a peer is barred" "$dir/fetch.out" | sed 's/\x1b\[[0-9;]*m//g; s/.*peer=\([^ ]*\).*/\1/' | sort -u)
    [ "$barred" = "$node_id" ] || fail "barred are: ${barred:-none}, the liar is $node_id"
    grep -ac "sent what is not the chain's" "$dir/fetch.out" | sed 's/$/ lies were found, and the liar, and nobody else, was barred/'
    stop
    rm -rf "$dir/peers"
}
