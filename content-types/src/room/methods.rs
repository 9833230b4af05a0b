//! The JSON-RPC methods of one sub-network's namespace. The same set serves every sub-network, so the names are made from its
//! prefix at compile time.

/// Full method names of one sub-network, as the specification's OpenRPC gives them after the prefix.
#[derive(Clone, Copy, Debug)]
pub struct Methods {
    /// The routing table.
    pub routing_table_info: &'static str,
    /// Adds a record.
    pub add_enr: &'static str,
    /// A record that is known.
    pub get_enr: &'static str,
    /// Removes a record.
    pub delete_enr: &'static str,
    /// The newest record that can be found.
    pub lookup_enr: &'static str,
    /// PING.
    pub ping: &'static str,
    /// FINDNODES.
    pub find_nodes: &'static str,
    /// FINDCONTENT.
    pub find_content: &'static str,
    /// OFFER.
    pub offer: &'static str,
    /// A lookup of nodes.
    pub recursive_find_nodes: &'static str,
    /// A lookup of content.
    pub get_content: &'static str,
    /// The same, with its trace.
    pub trace_get_content: &'static str,
    /// Stores a value here.
    pub store: &'static str,
    /// A value that is stored here.
    pub local_content: &'static str,
    /// Stores a value here and offers it to others.
    pub put_content: &'static str,
}

macro_rules! methods {
    ($prefix:literal) => {
        $crate::room::Methods {
            routing_table_info: concat!($prefix, "RoutingTableInfo"),
            add_enr: concat!($prefix, "AddEnr"),
            get_enr: concat!($prefix, "GetEnr"),
            delete_enr: concat!($prefix, "DeleteEnr"),
            lookup_enr: concat!($prefix, "LookupEnr"),
            ping: concat!($prefix, "Ping"),
            find_nodes: concat!($prefix, "FindNodes"),
            find_content: concat!($prefix, "FindContent"),
            offer: concat!($prefix, "Offer"),
            recursive_find_nodes: concat!($prefix, "RecursiveFindNodes"),
            get_content: concat!($prefix, "GetContent"),
            trace_get_content: concat!($prefix, "TraceGetContent"),
            store: concat!($prefix, "Store"),
            local_content: concat!($prefix, "LocalContent"),
            put_content: concat!($prefix, "PutContent"),
        }
    };
}
pub(crate) use methods;
