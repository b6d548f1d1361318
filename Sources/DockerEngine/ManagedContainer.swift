import OrchestryModel

/// A container of this cluster and node as the engine describes it.
package struct ManagedContainer: Hashable, Sendable {
    /// 64 hexadecimal digits.
    package var id: String
    package var instance: InstanceID
    package var app: AppName
    package var revision: Int
    /// The epoch under which it was started.
    package var epoch: Epoch
    /// nil when another release wrote a form of it that this one can't read.
    package var assignment: Assignment?
    package var isRunning: Bool
    /// nil until the first start.
    package var startedAt: WallTime?
    /// Where its traffic goes: the primary port. nil while it does not run, and for a worker.
    package var endpoint: Endpoint?
    /// Where its health check goes: the check's own port, else the primary one. nil as for `endpoint`.
    package var probeEndpoint: Endpoint?
    /// The same of its liveness check.
    package var livenessEndpoint: Endpoint?
    /// nil while it runs, and before its first start.
    package var exitCode: Int?
    /// The kernel killed one of its processes because the memory limit was reached.
    package var outOfMemory: Bool
    /// What the engine says of a start that failed; usually empty.
    package var error: String

    package init(
        id: String, instance: InstanceID, app: AppName, revision: Int, epoch: Epoch, assignment: Assignment? = nil,
        isRunning: Bool, startedAt: WallTime? = nil, endpoint: Endpoint? = nil, probeEndpoint: Endpoint? = nil,
        livenessEndpoint: Endpoint? = nil, exitCode: Int? = nil, outOfMemory: Bool, error: String
    ) {
        self.id = id
        self.instance = instance
        self.app = app
        self.revision = revision
        self.epoch = epoch
        self.assignment = assignment
        self.isRunning = isRunning
        self.startedAt = startedAt
        self.endpoint = endpoint
        self.probeEndpoint = probeEndpoint
        self.livenessEndpoint = livenessEndpoint
        self.exitCode = exitCode
        self.outOfMemory = outOfMemory
        self.error = error
    }
}

/// What `DockerEngine.start` made or found.
package struct RunningContainer: Hashable, Sendable {
    package var container: ManagedContainer
    /// It was already running: nothing was started.
    package var adopted: Bool

    package init(container: ManagedContainer, adopted: Bool) {
        self.container = container
        self.adopted = adopted
    }

    package var id: String { container.id }
    package var endpoint: Endpoint? { container.endpoint }
    package var probeEndpoint: Endpoint? { container.probeEndpoint }
    package var startedAt: WallTime? { container.startedAt }
    /// False for a program that ended before it could be looked at.
    package var isRunning: Bool { container.isRunning }
}

/// What the engine says of itself.
package struct EngineVersion: Hashable, Sendable {
    package var version: String
    package var apiVersion: String
    package var kernel: String
    package var isPodman: Bool

    package init(version: String, apiVersion: String, kernel: String, isPodman: Bool = false) {
        self.version = version
        self.apiVersion = apiVersion
        self.kernel = kernel
        self.isPodman = isPodman
    }
}

/// What the node's instances may reserve together.
package struct EngineCapacity: Hashable, Sendable {
    /// Thousandths of a core.
    package var millicores: Int
    package var memoryBytes: Int64

    package init(millicores: Int, memoryBytes: Int64) {
        self.millicores = millicores
        self.memoryBytes = memoryBytes
    }
}

extension ManagedContainer {
    /// - Returns: nil unless the labels are those of a container of `configuration`'s cluster and node.
    init?(_ document: ContainerDocument, configuration: EngineConfiguration) {
        let labels = document.Config.Labels ?? [:]
        guard labels[ContainerLabels.cluster] == configuration.cluster.rawValue,
            labels[ContainerLabels.node] == configuration.node.rawValue,
            let instance = labels[ContainerLabels.instance].flatMap({ InstanceID(rawValue: $0) }),
            let app = labels[ContainerLabels.app].flatMap({ AppName(rawValue: $0) }),
            let revision = labels[ContainerLabels.revision].flatMap({ Int($0) })
        else { return nil }
        // Unreadable means "written by another release", which `assignment`'s nil says.
        let assignment = labels[ContainerLabels.assignment]
            .flatMap { try? EngineJSON.decode(Assignment.self, from: $0.utf8) }
        let startedAt = document.State.StartedAt.flatMap(EngineTime.parse).flatMap { $0.milliseconds > 0 ? $0 : nil }
        let addresses = EndpointResolver(
            document, configuration: configuration,
            network: assignment.map { configuration.network(of: $0.spec) } ?? configuration.network)
        let primary = assignment?.spec.primaryPort
        self.init(
            id: document.Id, instance: instance, app: app, revision: revision,
            epoch: Epoch(labels[ContainerLabels.epoch].flatMap { UInt64($0) } ?? 0), assignment: assignment,
            isRunning: document.State.Running, startedAt: startedAt,
            endpoint: primary.flatMap(addresses.endpoint),
            probeEndpoint: (assignment?.spec.health.port ?? primary).flatMap(addresses.endpoint),
            livenessEndpoint: (assignment?.spec.liveness?.port ?? primary).flatMap(addresses.endpoint),
            exitCode: document.State.Running || startedAt == nil ? nil : document.State.ExitCode,
            outOfMemory: document.State.OOMKilled ?? false, error: document.State.Error ?? "")
    }
}

/// Finds where a port of a container can be reached.
struct EndpointResolver {
    private let settings: ContainerDocument.NetworkSettings?
    private let configuration: EngineConfiguration
    private let network: String
    private let isRunning: Bool

    init(_ document: ContainerDocument, configuration: EngineConfiguration, network: String) {
        self.network = network
        settings = document.NetworkSettings
        self.configuration = configuration
        isRunning = document.State.Running
    }

    /// - Parameter port: inside the container.
    func endpoint(_ port: Int) -> Endpoint? {
        guard isRunning else { return nil }
        switch configuration.endpointMode {
        case .container:
            guard let address = settings?.Networks?[network]?.IPAddress, !address.isEmpty else {
                return nil
            }
            return Endpoint(host: address, port: port)
        case .published(let hostAddress):
            let bindings = (settings?.Ports?["\(port)/tcp"] ?? nil) ?? []
            guard let hostPort = bindings.compactMap({ $0.HostPort.flatMap { Int($0) } }).first(where: { $0 > 0 })
            else {
                return nil
            }
            return Endpoint(host: hostAddress, port: hostPort)
        }
    }
}
