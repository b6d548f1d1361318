import OrchestryModel

/// Tells a running nginx which nodes' REST facades there are; see `orchestry_api.lua`.
package struct FacadeList: Hashable, Sendable {
    package struct Facade: Hashable, Sendable {
        package var node: NodeID
        /// An IP literal and a port.
        package var endpoint: Endpoint
        package init(node: NodeID, endpoint: Endpoint) {
            self.node = node
            self.endpoint = endpoint
        }
    }
    /// In the order reads prefer them: this node's own first.
    package var facades: [Facade]
    /// Where writes go first; nil: nobody is known to lead.
    package var leader: NodeID?

    package init(facades: [Facade], leader: NodeID?) {
        self.facades = facades
        self.leader = leader
    }

    /// - Returns: text ending in `end\n`, without those whose address nginx could not take.
    package func render() -> String {
        var text = "orchestry-facades 1\n"
        for facade in facades {
            let host = facade.endpoint.host
            guard isAddressLiteral(host), (1...65535).contains(facade.endpoint.port) else { continue }
            let address = host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]" : host
            let role = facade.node == leader ? "leader" : "node"
            text += "\(role) \(facade.node) \(address) \(facade.endpoint.port)\n"
        }
        return text + "end\n"
    }
}
