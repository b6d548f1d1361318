extension AppSpec {
    /// Whether a change of spec needs new containers, and so a new revision and a rollout. All else (labels, scaling,
    /// health, routing, termination, rollout policy, pull policy, a port's name or protocol) takes effect on the
    /// instances that run.
    public static func needsNewRevision(from old: AppSpec, to new: AppSpec) -> Bool {
        old.containerInputs != new.containerInputs
    }

    /// Everything a container is made from.
    private struct ContainerInputs: Equatable {
        var image: String
        var command: [String]?
        var arguments: [String]?
        var workingDirectory: String?
        /// In order: of two with one name, a container gets the last.
        var environment: [EnvironmentVariable]
        /// The first is the one an instance's endpoint and `instance.port` name.
        var ports: [Int]
        var resources: Resources
        var security: Security
        var volumes: [Volume]
        var logs: LogOptions?
        var isIsolated: Bool
    }

    private var containerInputs: ContainerInputs {
        ContainerInputs(
            image: image, command: command, arguments: arguments, workingDirectory: workingDirectory,
            environment: environment, ports: ports.map(\.containerPort), resources: resources, security: security,
            volumes: volumes, logs: logs, isIsolated: isIsolated)
    }
}
