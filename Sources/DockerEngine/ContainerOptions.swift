import OrchestryModel

/// Turns an assignment into the body of the engine's "create container" call. Pure.
package struct ContainerOptions {
    var assignment: Assignment
    var epoch: Epoch
    var configuration: EngineConfiguration
    /// The image's own user; empty means root.
    var imageUser: String
    /// A fixed address on the network, where the spec wants to know it beforehand; nil: the engine chooses.
    var address: String?
    /// Opened; never in a label, a message or an argument.
    var secrets: [SecretName: String]
    /// The engine is Podman.
    var isPodman: Bool

    package init(
        assignment: Assignment, epoch: Epoch, configuration: EngineConfiguration, imageUser: String, address: String?,
        secrets: [SecretName: String] = [:], isPodman: Bool = false
    ) {
        self.assignment = assignment
        self.epoch = epoch
        self.configuration = configuration
        self.imageUser = imageUser
        self.address = address
        self.secrets = secrets
        self.isPodman = isPodman
    }

    /// The engine keeps names unique, which makes two containers for one instance impossible.
    /// Dots can't be part of a cluster's or an instance's name, so no two pairs give the same text.
    static func name(of instance: InstanceID, cluster: ClusterID) -> String { "orchestry.\(cluster).\(instance)" }

    /// Whether the spec asks for the instance's address before it starts.
    static func needsAddress(_ spec: AppSpec) -> Bool {
        spec.environment.contains { $0.source == .sdk("instance.ip") }
    }

    func document() throws -> CreateDocument {
        let spec = assignment.spec
        return CreateDocument(
            Image: spec.image,
            // The kernel's limit is 64; a longer instance name keeps the engine's choice.
            Hostname: assignment.instance.rawValue.utf8.count <= 63 ? assignment.instance.rawValue : nil,
            User: user,
            Env: environment,
            Entrypoint: spec.command,
            Cmd: spec.arguments,
            WorkingDir: spec.workingDirectory,
            Labels: try ContainerLabels.make(assignment, epoch: epoch, cluster: configuration.cluster),
            ExposedPorts: Dictionary(
                uniqueKeysWithValues: publishedPorts.map { ("\($0)/tcp", CreateDocument.Empty()) }),
            StopTimeout: spec.termination.gracePeriodSeconds,
            HostConfig: try hostConfig(),
            NetworkingConfig: .init(
                EndpointsConfig: [
                    configuration.network(of: spec): .init(IPAMConfig: address.map { .init(IPv4Address: $0) })
                ]))
    }

    /// nil: the image's own user, which is not root or may be.
    package var user: String? {
        let security = assignment.spec.security
        if let user = security.user { return user }
        let name = imageUser.prefix { $0 != ":" }
        let isRoot = name.isEmpty || name == "root" || name.allSatisfy { $0 == "0" }
        return isRoot && !security.allowRoot ? "65534:65534" : nil
    }

    /// `NAME=value`, in the spec's order.
    var environment: [String] {
        assignment.spec.environment.compactMap { variable in
            switch variable.source {
            case .value(let value): "\(variable.name)=\(value)"
            case .sdk(let key): sdkValue(key).map { "\(variable.name)=\($0)" }
            case .secret(let name): secrets[name].map { "\(variable.name)=\($0)" }
            }
        }
    }

    private func sdkValue(_ key: String) -> String? {
        switch key {
        case "instance.ip": address
        case "instance.port": assignment.spec.primaryPort.map(String.init)
        case "app.name": assignment.app.rawValue
        case "app.replicas": String(assignment.replicas)
        default: nil
        }
    }

    /// The app's ports, and the checks' where they have ports of their own.
    private var publishedPorts: Set<Int> {
        let checks = [assignment.spec.health.port, assignment.spec.liveness?.port].compactMap(\.self)
        return Set(assignment.spec.ports.map(\.containerPort) + checks)
    }

    /// What the engine is asked to mount.
    /// - Throws: `HostPolicy.Objection`.
    func mounts() throws -> [CreateDocument.Mount] {
        try assignment.spec.volumes.compactMap { volume in
            switch volume.kind {
            case .volume:
                CreateDocument.Mount(
                    Type: "volume",
                    Source: Self.volumeName(volume.source, of: assignment.app, cluster: configuration.cluster),
                    Target: volume.target, ReadOnly: volume.readOnly,
                    VolumeOptions: .init(Labels: [
                        ContainerLabels.cluster: configuration.cluster.rawValue,
                        ContainerLabels.app: assignment.app.rawValue,
                    ]))
            case .bind:
                CreateDocument.Mount(
                    Type: "bind", Source: try configuration.policy.resolveBind(volume.source).get(),
                    Target: volume.target,
                    ReadOnly: volume.readOnly, BindOptions: .init(Propagation: "rprivate"))
            case .tmpfs: nil
            }
        }
    }

    /// By target, what the engine is to mount in memory. With every option: engines have different defaults.
    var memoryMounts: [String: String]? {
        let spec = assignment.spec
        var mounts: [String: String] = [:]
        if spec.security.readOnlyRootFilesystem { mounts["/tmp"] = "rw,noexec,nosuid,nodev,size=64m,mode=1777" }
        for volume in spec.volumes {
            mounts[volume.target] = nil
            guard volume.kind == .tmpfs else { continue }
            let size = volume.sizeBytes ?? spec.resources.memoryBytes / 2
            mounts[volume.target] =
                "\(volume.readOnly ? "ro" : "rw"),noexec,nosuid,nodev,size=\(size),mode=1777"
        }
        return mounts.isEmpty ? nil : mounts
    }

    /// As for containers, no two pairs give the same text.
    static func volumeName(_ name: String, of app: AppName, cluster: ClusterID) -> String {
        "orchestry.\(cluster).\(app).\(name)"
    }

    private func securityOptions() throws -> [String] {
        var options = ["no-new-privileges"]
        switch assignment.spec.security.seccompProfile {
        case nil: break
        case "Unconfined"?: options.append("seccomp=unconfined")
        case let name?:
            options.append("seccomp=\(try configuration.policy.seccompProfile(name, asPath: isPodman).get())")
        }
        switch assignment.spec.security.appArmorProfile {
        case nil: break
        case "Unconfined"?: options.append("apparmor=unconfined")
        case let name?: options.append("apparmor=\(name)")
        }
        return options
    }

    private var logOptions: [String: String] {
        var options = configuration.logOptions
        if let bytes = assignment.spec.logs?.maxSizeBytes { options["max-size"] = String(bytes) }
        if let files = assignment.spec.logs?.maxFiles { options["max-file"] = String(files) }
        return options
    }

    private func hostConfig() throws -> CreateDocument.HostConfig {
        let spec = assignment.spec
        var bindings: [String: [CreateDocument.Binding]]?
        if case .published(let hostAddress) = configuration.endpointMode {
            bindings = Dictionary(
                uniqueKeysWithValues: publishedPorts.map { ("\($0)/tcp", [.init(HostIp: hostAddress, HostPort: "")]) })
        }
        return CreateDocument.HostConfig(
            NetworkMode: configuration.network(of: spec),
            PortBindings: bindings,
            RestartPolicy: .init(Name: "no"),
            // A quota in each 100 ms, and the matching share when several compete.
            CpuPeriod: 100_000,
            CpuQuota: Int64(spec.resources.cpuMillicores) * 100,
            CpuShares: max(2, spec.resources.cpuMillicores * 1_024 / 1_000),
            Memory: spec.resources.memoryBytes,
            // The same number means no swap at all.
            MemorySwap: spec.resources.memoryBytes,
            PidsLimit: spec.resources.pidsLimit,
            SecurityOpt: try securityOptions(),
            CapDrop: ["ALL"],
            CapAdd: spec.security.addCapabilities,
            ReadonlyRootfs: spec.security.readOnlyRootFilesystem,
            Tmpfs: memoryMounts,
            Mounts: try mounts(),
            Init: configuration.usesInit,
            LogConfig: .init(Type: "json-file", Config: logOptions))
    }
}

/// The body of `POST /containers/create`, as far as it is used. Names are the engine's.
struct CreateDocument: Encodable {
    struct Empty: Encodable {}
    struct RestartPolicy: Encodable {
        var Name: String
    }
    struct Binding: Encodable {
        var HostIp: String
        /// Empty: the engine chooses.
        var HostPort: String
    }
    struct LogConfig: Encodable {
        var `Type`: String
        var Config: [String: String]
    }
    struct Mount: Encodable {
        struct VolumeOptions: Encodable {
            var Labels: [String: String]
        }
        struct BindOptions: Encodable {
            var Propagation: String
        }
        var `Type`: String
        var Source: String?
        var Target: String
        var ReadOnly: Bool
        var VolumeOptions: VolumeOptions?
        var BindOptions: BindOptions?
    }
    struct HostConfig: Encodable {
        var NetworkMode: String
        var PortBindings: [String: [Binding]]?
        var RestartPolicy: RestartPolicy
        var CpuPeriod: Int64
        var CpuQuota: Int64
        var CpuShares: Int
        var Memory: Int64
        var MemorySwap: Int64
        var PidsLimit: Int
        var SecurityOpt: [String]
        var CapDrop: [String]
        var CapAdd: [String]
        var ReadonlyRootfs: Bool
        var Tmpfs: [String: String]?
        var Mounts: [Mount]
        var Init: Bool
        var LogConfig: LogConfig
    }
    struct EndpointSettings: Encodable {
        struct IPAMConfig: Encodable {
            var IPv4Address: String
        }
        var IPAMConfig: IPAMConfig?
    }
    struct NetworkingConfig: Encodable {
        var EndpointsConfig: [String: EndpointSettings]
    }
    var Image: String
    var Hostname: String?
    var User: String?
    var Env: [String]
    var Entrypoint: [String]?
    var Cmd: [String]?
    var WorkingDir: String?
    var Labels: [String: String]
    var ExposedPorts: [String: Empty]
    var StopTimeout: Int
    var HostConfig: HostConfig
    var NetworkingConfig: NetworkingConfig
}
