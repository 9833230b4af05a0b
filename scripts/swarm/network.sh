# An era over long paths that lose packets: four seeders and a fetcher, each in a network namespace of its own with a link of its
# own. Delay and loss are on the way behind the sender's link, so that the fetcher's can be full all the same. `tc netem` makes
# them, or, in a kernel without it, the program in link.c.

# All links alike, both ways; two cores are not what limits a fetch then.
link_mbit=400
# What a packet of 1,500 bytes carries without the heads of IP, UDP, QUIC and streams, and TLS's tag.
link_payload=0.96

section_network() {
    local rtt run allowed bytes name
    make_era era 8192 100000
    allowed=$(awk -v mbit="$link_mbit" -v share="$link_payload" 'BEGIN { print mbit * share }')
    echo "links of $link_mbit Mbit/s, which allow $allowed of content; 1 % of all packets is lost, each way"
    for rtt in 20 100; do
        make_paths "$rtt"
        start_far_seeders
        for run in $(seq 0 "$runs"); do
            rm -rf "$dir/fetched"
            timed cairn "${seeders[*]}" "${fetch[@]}"
            [ -e "$dir/cairn.failed" ] || check_fetched
            [ "$run" != 0 ] || bytes=$(far_uploaded)
        done
        printf '\nround trip %s ms, %s\n' "$rtt" "$made_by"
        share_of_link cairn "$bytes" "$allowed"
        for name in quic-bbr tcp-bbr quic-cubic tcp-reno; do far_copy "$name" "$bytes" "$allowed"; done
        stop
        rm -rf "$dir/peers"
        for run in 1 2 3 4 5; do ip netns del "far$run"; done
    done
}

# Prints how fast a fetch was: share_of_link NAME BYTES ALLOWED
share_of_link() {
    if [ -e "$dir/$1.failed" ]; then
        echo "$1 failed: $(cat "$dir/$1.failed")"
    else
        tail -n +2 "$dir/$1.runs" | sort -n | awk -v name="$1" -v bytes="$2" -v allowed="$3" '
            { s[NR] = $1; cpu += $2 + $3 + $6 - $5; if ($4 > m) m = $4 }
            END { t = s[int((NR + 1) / 2)]; mbit = bytes * 8 / 1e6 / t
                  printf "%-12s %7.0f MB in %6.2f s (worst %6.2f s): %5.1f Mbit/s, %3.0f %% of what the link allows; %.1f CPU s, %.0f MB\n",
                      name, bytes / 1e6, t, s[NR], mbit, mbit / allowed * 100, cpu / NR, m * 1.024 / 1000 }'
    fi
    rm -f "$dir/$1.runs" "$dir/$1.failed"
}

# Bare bytes from four: far_copy KIND-CONTROL BYTES ALLOWED
far_copy() {
    local kind=${1%-*} control=${1#*-} bytes=$2 i file addresses=() senders=()
    # It takes minutes to send all with a control that takes loss for a full path.
    [ "$control" = bbr ] || bytes=40000000
    [ "$1" != quic-bbr ] || kind=quic-bbr
    for i in 2 3 4 5; do
        file=$dir/copy-$1-$i
        rm -f "$file"
        [ "$kind" != tcp ] || ip netns exec "far$i" sysctl -qw "net.ipv4.tcp_congestion_control=$control" \
            2> "$dir/sysctl.log" || { echo "$1: not to be had here: left out"; return; }
        ip netns exec "far$i" "$copy" serve "$kind" "10.77.0.$i" > "$file" 2>&1 &
        pids+=($!)
        senders+=($!)
        until_true 10 test -s "$file"
        addresses+=("$(cat "$file")")
    done
    for i in 0 1; do timed "$1" "${senders[*]}" ip netns exec far1 "$copy" fetch "$kind" "$bytes" "${addresses[@]}"; done
    share_of_link "$1" "$bytes" "$3"
}

# Five namespaces, far1 to far5, with the addresses 10.77.0.1 to .5: make_paths RTT. Sets `made_by`.
make_paths() {
    local i one_way=$(($1 / 2)) queue=$(($1 > 50 ? $1 : 50))
    for i in 1 2 3 4 5; do
        ip netns add "far$i"
        ip -n "far$i" link set lo up
    done
    if has_netem; then
        made_by="tc netem"
        with_netem "$one_way" "$queue"
    else
        made_by="this kernel has no netem: scripts/swarm/link.c"
        [ -x "$dir/link" ] || cc -O2 -o "$dir/link" scripts/swarm/link.c
        rm -f "$dir/ready"
        "$dir/link" "$link_mbit" "$one_way" 1 "$queue" far1 far2 far3 far4 far5 > "$dir/ready" &
        pids+=($!)
        until_true 10 grep -q ready "$dir/ready"
    fi
    for i in 1 2 3 4 5; do
        ip -n "far$i" addr add "10.77.0.$i/24" dev link0
        ip -n "far$i" link set link0 mtu 1500 txqueuelen 10000 up
    done
}

has_netem() {
    local outcome=0
    ip link add probe0 type veth peer name probe1
    tc qdisc add dev probe0 root netem delay 1ms > "$dir/tc.log" 2>&1 || outcome=1
    ip link del probe0
    return $outcome
}

# A bridge in a namespace of its own, and a pair of devices for each peer: with_netem ONE_WAY_MS QUEUE_MS. The token bucket's
# small burst cuts what the sender hands down in large pieces, so that netem loses packets and not pieces.
with_netem() {
    local i
    ip netns del hub 2> "$dir/hub.log" || true
    ip netns add hub
    ip -n hub link add bridge0 type bridge
    ip -n hub link set bridge0 up
    for i in 1 2 3 4 5; do
        ip -n hub link add "port$i" type veth peer name link0 netns "far$i"
        ip -n hub link set "port$i" master bridge0 up
        tc -n hub qdisc add dev "port$i" root tbf rate "${link_mbit}mbit" burst 4kb latency "$2ms"
        tc -n "far$i" qdisc add dev link0 root handle 1: tbf rate "${link_mbit}mbit" burst 4kb latency "$2ms"
        tc -n "far$i" qdisc add dev link0 parent 1:1 netem delay "$1ms" loss 1% limit 50000
    done
}

# Seeders of the era in far2 to far5. Sets `seeders` and `fetch`.
start_far_seeders() {
    local i records=()
    common_flags
    seeders=()
    for i in 2 3 4 5; do
        ip netns exec "far$i" "$cairn" seed "$era/archives" "${common[@]}" --data-dir "$dir/peers/far$i" --bootnodes none \
            --listen "10.77.0.$i:9009" --rpc 127.0.0.1:8645 > "$dir/far$i.log" 2>&1 &
        pids+=($!)
        seeders+=($!)
        until_true 60 far_serves "$i"
        records+=("$(ip netns exec "far$i" "$cairn" enr --rpc http://127.0.0.1:8645)")
    done
    fetch=(ip netns exec far1 "$cairn" --log error fetch --era 0 --out "$dir/fetched" "${common[@]}"
        --data-dir "$dir/peers/fetcher" --listen 10.77.0.1:0 --bootnodes "$(IFS=,; echo "${records[*]}")")
}

far_serves() {
    ip netns exec "far$1" "$cairn" status --rpc http://127.0.0.1:8645 | grep -q '^archives  *1'
}

# Bytes of items that the far seeders have sent.
far_uploaded() {
    local i
    for i in 2 3 4 5; do
        ip netns exec "far$i" curl -s --max-time 10 -H 'content-type: application/json' \
            -d '{"jsonrpc":"2.0","id":1,"method":"cairn_swarm","params":[]}' http://127.0.0.1:8645
        echo
    done | sum_of_uploaded
}
