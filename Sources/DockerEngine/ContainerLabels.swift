import OrchestryModel

/// The labels by which Orchestry knows its containers again, after any restart.
package enum ContainerLabels {
    package static let cluster = "orchestry.cluster"
    package static let node = "orchestry.node"
    package static let app = "orchestry.app"
    package static let instance = "orchestry.instance"
    package static let revision = "orchestry.revision"
    package static let epoch = "orchestry.epoch"
    /// The whole `Assignment` as JSON, so that a container can be adopted by a node that remembers nothing.
    package static let assignment = "orchestry.assignment"

    static func make(_ assignment: Assignment, epoch: Epoch, cluster: ClusterID) throws -> [String: String] {
        [
            Self.cluster: cluster.rawValue,
            node: assignment.node.rawValue,
            app: assignment.app.rawValue,
            instance: assignment.instance.rawValue,
            revision: String(assignment.revision),
            Self.epoch: epoch.description,
            Self.assignment: try EngineJSON.text(assignment),
        ]
    }
}
