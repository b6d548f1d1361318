import Foundation
import OrchestryModel
import ProxyConfig

/// Something about this node's nginx that belongs into the audit trail.
package enum ProxyEvent: Hashable, Sendable {
    case started(pid: Int32)
    /// A master that was still running from before this process was taken over.
    case adopted(pid: Int32)
    case masterExited(pid: Int32)
    case restartFailed(String)
    /// The configuration before it goes on serving.
    case configurationRejected(String)
    /// Lua was wished for but does not work here.
    case fellBackToPlain(String)
}

/// What an `apply` brought about. When it is returned, every request whose instance is chosen from then on follows it.
package struct AppliedResult: Hashable, Sendable {
    /// The version that is in effect: the one asked for or, where calls were joined, a later one.
    package var version: RoutingTable.Version
    /// Fingerprint of the configuration the workers run with.
    package var generation: String
    /// Whether it took a reload.
    package var reloaded: Bool
    /// What was left out.
    package var problems: [ProxyStructure.Problem]
    /// Of the apps that ask for TLS.
    package var certificates: [AppName: CertificateState]
}

/// nginx's own figures (its stub_status module), of the whole nginx.
package struct ProxyStatus: Hashable, Sendable {
    /// Client connections open now, idle ones included.
    package var activeConnections: UInt64
    /// Since the master started.
    package var accepted: UInt64
    package var handled: UInt64
    package var requests: UInt64
    /// Connections whose request is being read, whose answer is being written, and that are idle.
    package var reading: UInt64
    package var writing: UInt64
    package var waiting: UInt64
}
