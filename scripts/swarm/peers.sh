# shellcheck shell=bash disable=SC2034,SC2154 # parts share their variables
# Peers of cairn: seeders, fetches from them, and what they tell. Senders of bare bytes.

# Flags that all peers of an era need.
common_flags() {
    common=(--chain "$era/chain.json" --trust "$era/trust" --nat none --addresses local)
}

# A call of JSON-RPC: rpc ADDRESS METHOD [PARAMETERS]
rpc() {
    curl -s --max-time 10 -H 'content-type: application/json' \
        -d "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"$2\",\"params\":${3:-[]}}" "http://$1"
}

# Starts a peer on the chosen host and waits for it: start_peer NAME PORT ARGUMENTS… JSON-RPC has the port after, on that host's
# loopback.
start_peer() {
    local name=$1 port=$2
    shift 2
    "${on[@]}" "$cairn" "$@" "${common[@]}" --data-dir "$dir/peers/$name" --listen "$ip:$port" \
        --rpc "127.0.0.1:$((port + 1))" > "$dir/$name.log" 2>&1 &
    pids+=($!)
    until_true 60 "${on[@]}" "$cairn" enr --rpc "http://127.0.0.1:$((port + 1))"
}

# Starts seeders of the era that do not know each other, each on the next host. Sets `bootnodes`, `seeders` (their pids), `rpcs`,
# and `fetch`, the command of a fetch from them.
start_seeders() {
    local i port records=()
    common_flags
    rpcs=() seeders=()
    for i in $(seq "$1"); do
        at "$i"
        port=$((25000 + i * 10))
        start_peer "seeder$i" "$port" seed "$era/archives" --bootnodes none
        seeders+=("${pids[-1]}")
        rpcs+=("127.0.0.1:$((port + 1))")
        records+=("$("${on[@]}" "$cairn" enr --rpc "http://${rpcs[-1]}")")
    done
    for i in $(seq "$1"); do
        at "$i"
        until_true 60 serves "${rpcs[i - 1]}"
    done
    at 0
    bootnodes=$(IFS=,; echo "${records[*]}")
    fetch=("${on[@]}" "$cairn" --log error fetch "${wanted[@]}" "${common[@]}" --data-dir "$dir/peers/fetcher"
        --listen "$ip:0" --bootnodes "$bootnodes")
}

# Whether a seeder on the chosen host has looked at its archives.
serves() {
    "${on[@]}" "$cairn" status --rpc "http://$1" | grep -q '^archives  *1'
}

# Bytes of items that the seeders on loopback have sent.
uploaded() {
    local address
    for address in "${rpcs[@]}"; do rpc "$address" cairn_swarm; echo; done |
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

# Starts senders of bare bytes, each on the next host: start_copies KIND COUNT. Sets `seeders` and `addresses`.
start_copies() {
    local i file
    seeders=() addresses=()
    for i in $(seq "$2"); do
        file=$dir/copy-$1-$i
        rm -f "$file"
        at "$i"
        "${on[@]}" "$copy" serve "$1" "$ip" > "$file" 2>&1 &
        pids+=($!)
        seeders+=($!)
        until_true 10 test -s "$file"
        addresses+=("$(cat "$file")")
    done
    at 0
}
