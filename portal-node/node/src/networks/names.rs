//! The methods of one sub-network's namespace. The same set serves every sub-network, so the names are made from its
//! prefix at compile time.

/// Full method names of one sub-network, as the specification's OpenRPC gives them after the prefix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MethodNames {
    pub(crate) routing_table_info: &'static str,
    pub(crate) add_enr: &'static str,
    pub(crate) get_enr: &'static str,
    pub(crate) delete_enr: &'static str,
    pub(crate) lookup_enr: &'static str,
    pub(crate) ping: &'static str,
    pub(crate) find_nodes: &'static str,
    pub(crate) find_content: &'static str,
    pub(crate) offer: &'static str,
    pub(crate) recursive_find_nodes: &'static str,
    pub(crate) get_content: &'static str,
    pub(crate) trace_get_content: &'static str,
    pub(crate) store: &'static str,
    pub(crate) local_content: &'static str,
    pub(crate) put_content: &'static str,
}

macro_rules! method_names {
    ($prefix:literal) => {
        $crate::networks::names::MethodNames {
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
pub(crate) use method_names;
