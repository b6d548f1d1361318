import OrchestryModel

/// Finds out who asks.
package protocol CallerIdentification: Sendable {
    /// - Parameters:
    ///   - authorization: the header's value; nil: there is none.
    ///   - address: the client's, without a port.
    func identify(authorization: String?, address: String?) async -> Identification
}

package enum Identification: Hashable, Sendable {
    case known(Caller)
    /// 401, or 429 while an address is locked out.
    case unknown(Problem)
}

/// Where authentication is off: everybody may do everything.
package struct Everybody: CallerIdentification {
    private let node: NodeID?
    package init(node: NodeID? = nil) { self.node = node }
    package func identify(authorization: String?, address: String?) -> Identification {
        .known(Caller(name: "anonymous", address: address, node: node))
    }
}
