# Peers of cairn: seeders, fetches from them, and what they tell.

# Flags that all peers of an era need.
common_flags() {
    common=(--chain "$era/chain.json" --trust "$era/trust" --nat none --addresses local)
}

# A call of JSON-RPC: rpc ADDRESS METHOD [PARAMETERS]
rpc() {
    curl -s --max-time 10 -H 'content-type: application/json' \
        -d "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"$2\",\"params\":${3:-[]}}" "http://$1"
}

# Starts a peer on loopback and waits for it: start_peer NAME PORT ARGUMENTS… JSON-RPC has the port after.
start_peer() {
    local name=$1 port=$2
    shift 2
    "$cairn" "$@" "${common[@]}" --data-dir "$dir/peers/$name" --listen "127.0.0.1:$port" --rpc "127.0.0.1:$((port + 1))" \
        > "$dir/$name.log" 2>&1 &
    pids+=($!)
    until_true 60 "$cairn" enr --rpc "http://127.0.0.1:$((port + 1))"
}

# Starts seeders of the era that do not know each other. Sets `bootnodes`, `seeders` (their pids) and `rpcs`.
start_seeders() {
    local i port records=()
    common_flags
    rpcs=() seeders=()
    for i in $(seq "$1"); do
        port=$((25000 + i * 10))
        start_peer "seeder$i" "$port" seed "$era/archives" --bootnodes none
        seeders+=("${pids[-1]}")
        rpcs+=("127.0.0.1:$((port + 1))")
        records+=("$("$cairn" enr --rpc "http://${rpcs[-1]}")")
    done
    bootnodes=$(IFS=,; echo "${records[*]}")
    fetch=("$cairn" --log error fetch --era 0 --out "$dir/fetched" "${common[@]}" --data-dir "$dir/peers/fetcher"
        --listen 127.0.0.1:0 --bootnodes "$bootnodes")
    # They check an archive when it is read for the first time.
    local checked
    for checked in "${rpcs[@]}"; do until_true 60 serves "$checked"; done
}

# Whether a seeder has looked at its archives.
serves() {
    "$cairn" status --rpc "http://$1" | grep -q '^archives  *1'
}

# Bytes of items that the seeders have sent.
uploaded() {
    local address
    for address in "${rpcs[@]}"; do rpc "$address" cairn_swarm; echo; done | sum_of_uploaded
}

sum_of_uploaded() {
    sed 's/.*"uploaded":\([0-9]*\).*/\1/' | awk '{ sum += $1 } END { printf "%d", sum }'
}

# Whether what was fetched is the file.
check_fetched() {
    cmp "$archive" "$dir"/fetched/*.ere || fail "what was fetched is not the file"
    rm -rf "$dir/fetched"
}

# What the crowd has to know of a peer on loopback: crowd_flags NAME PORT; QUIC has the port 1000 above.
crowd_flags() {
    echo "$dir/peers/$1/node.key" "127.0.0.1:$(($2 + 1000))" \
        "$(sed -n 's/.*"chainId": *\([0-9]*\).*/\1/p' "$era/chain.json")" \
        "$(sed -n 's/.*"genesisHash": *"\(0x[0-9a-f]*\)".*/\1/p' "$era/chain.json")"
}
