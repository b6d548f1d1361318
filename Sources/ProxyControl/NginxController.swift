import Logging
import OrchestryModel
import ProxyConfig

/// A node's own nginx: started or taken over, kept running, fed with routes, read for counters.
///
/// nginx is a daemon, not a child that dies with its parent: a node that stops calls `release()` and traffic goes on;
/// the next process of the node adopts it. A file lock keeps two processes from controlling one folder.
package final class NginxController: Sendable {
    private let engine: NginxEngine
    private let reader: NginxReader
    /// On a queue of its own: clients wait, and the counters of a thousand apps take a while to read.
    private let heldReader: NginxReader
    private let shared: NginxShared

    /// - Parameter onEvent: called on the controller's own queue, which it must not hold up.
    package init(
        settings: ProxySettings, logger: Logger, onEvent: @escaping @Sendable (ProxyEvent) -> Void = { _ in }
    ) {
        shared = NginxShared(onEvent: onEvent)
        engine = NginxEngine(settings: settings, logger: logger, shared: shared)
        reader = NginxReader(shared: shared)
        heldReader = NginxReader(shared: shared)
    }

    /// Starts nginx with the routes it last had, or takes over the one running from this folder: that one is reloaded
    /// only if its configuration would differ. Returns when nginx answers. From then on it is started again, with
    /// back-off, whenever its master ends.
    /// - Throws: `notInstalled`, `folderInUse`, `startFailed` (a port is taken, say), `rejected`, `inputOutput`.
    package func start() async throws(ProxyError) { try await engine.start() }

    /// Makes a table effective: when it returns, every request whose instance is chosen from then on follows it.
    /// Endpoints are pushed without a reload (in Lua mode); only other hosts, paths, ports or limits need one. Calls
    /// made while another one works are joined: the newest table is applied once for all of them.
    /// - Parameters:
    ///   - excluded: instances not to be routed to although the table has them.
    ///   - certificates: for the apps whose routing asks for TLS; an app that is not in here keeps what it has. One that
    ///     can't be used is left aside, and the result says why: the app keeps the certificate it had.
    /// - Throws: `rejected` if nginx refuses the structure: the old one serves on, the endpoints of the apps it knows
    ///   are already those of `table`; `stale` for a table older than one applied since `start()`; `notRunning`,
    ///   `timeout`, `badAnswer`, `inputOutput`: try again. Whatever is thrown but `stale`, a nginx that starts again
    ///   comes up with the endpoints of `table`.
    @discardableResult
    package func apply(
        _ table: RoutingTable, excluding excluded: Set<InstanceID> = [], certificates: [AppName: AppCertificate] = [:]
    ) async throws(ProxyError) -> AppliedResult {
        try await engine.settle(
            shared.want(NginxShared.Desired(table: table, excluded: excluded, certificates: certificates)))
    }

    /// Says which nodes' REST facades there are and who leads. Never a reload; when nginx does not take it now, it is
    /// tried again until it does. Does nothing unless the settings have an `api`.
    package func announce(_ facades: FacadeList) async { await engine.announce(facades) }

    /// What nginx has counted. Not held up by an `apply` that waits for a reload.
    /// - Throws: `unsupported` in plain mode.
    package func readCounters() async throws(ProxyError) -> ProxyCounters { try await reader.counters() }

    /// Requests that wait for an app's first instance, by app.
    /// - Throws: `unsupported` in plain mode.
    package func readHeld() async throws(ProxyError) -> [HeldRequests.Waiting] { try await heldReader.held() }

    /// Yields soon after a request has begun to wait; once for many. For one reader.
    package var wakes: AsyncStream<Void> { shared.wakes }

    /// nginx's own figures, in both modes.
    package func readStatus() async throws(ProxyError) -> ProxyStatus { try await reader.status() }

    /// The endpoints in effect, as text; see `MembershipText`.
    /// - Throws: `unsupported` in plain mode.
    package func readMembership() async throws(ProxyError) -> String { try await reader.membership() }

    /// How often this process has reloaded nginx: for another structure, never for other endpoints.
    package var reloads: UInt64 { shared.reloads }

    /// How endpoints reach nginx; nil before `start()`.
    package var mode: ProxyMode? { shared.layout?.mode }

    /// Gives up control and leaves nginx running.
    package func release() async { await engine.release() }

    /// Ends nginx.
    /// - Parameter graceful: waits for requests in flight, `effectTimeoutSeconds` at most.
    package func stop(graceful: Bool) async { await engine.stop(graceful: graceful) }
}
