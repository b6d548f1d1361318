import AccessControl
import OrchestryModel

/// What the facade asks of the node behind it. Implementations do not throw: what goes wrong is a response too.
package protocol ControlPlane: Sendable {
    /// Carries out a request, here or at the leader, waiting for a leader if need be. Returns early when the task is
    /// cancelled (the client's time is up); whether a write was applied is then open.
    func perform(_ request: ControlRequest) async -> ControlResponse
    /// Encrypts a value that a client sent, before it goes anywhere.
    func seal(_ value: String, name: SecretName) throws(Problem) -> SealedSecret
    /// Checks a backup that a client sent, and puts it where the leader finds it.
    /// - Returns: its checksum, which names it.
    /// - Throws: `Problem`, `ValidationError`.
    func stage(_ backup: JSONValue) async throws -> String
    /// A write that was asked for was refused, here or by the leader.
    func noteRefusal(_ record: AuditRecord)
    /// What this node knows of the cluster; never waits for another node.
    func clusterView() async -> ClusterView
    /// This node's metrics in Prometheus' text format, version 0.0.4.
    func prometheusText() async -> String
    /// The id of the newest event; what is recorded from now on has higher ones.
    func newestEventID() async throws(Problem) -> Int64
    /// What a client of the event stream has not had, waiting for it.
    /// - Parameters:
    ///   - limit: of events, at least 1.
    ///   - atMost: how long to wait; then an empty page, with a cursor that may have moved on.
    /// - Returns: nil when this node stops.
    func nextStreamPage(
        after cursor: StreamCursor, _ filter: EventFilter, limit: Int, atMost: Duration
    ) async throws(Problem) -> StreamPage?
    /// - Parameter tail: how many lines of each instance to begin with, at least 0.
    /// - Throws: 404 when there is no such app.
    func followLogs(of app: AppName, tail: Int) async throws(Problem) -> any LogFollowing
    /// Begins a command in an instance, wherever it runs.
    /// - Parameter instance: nil: a ready one.
    /// - Throws: 404 when there is no such app or instance; 409: it does not run; 503: its node can't be asked.
    func exec(
        _ command: ExecCommand, in instance: InstanceID?, of app: AppName, caller: Caller
    ) async throws(Problem) -> any ExecSession
}
