import AccessControl
import OrchestryModel

/// What the facade asks of the node behind it. Implementations do not throw: what goes wrong is a response too.
package protocol ControlPlane: Sendable {
    /// Carries out a request, here or at the leader, waiting for a leader if need be. Returns early when the task is
    /// cancelled (the client's time is up); whether a write was applied is then open.
    func perform(_ request: ControlRequest) async -> ControlResponse
    /// Encrypts a value that a client sent, before it goes anywhere.
    func seal(_ value: String, name: SecretName) throws(Problem) -> SealedSecret
    /// A write that was asked for was refused, here or by the leader.
    func noteRefusal(_ record: AuditRecord)
    /// What this node knows of the cluster; never waits for another node.
    func clusterView() async -> ClusterView
    /// This node's metrics in Prometheus' text format, version 0.0.4.
    func prometheusText() async -> String
}
