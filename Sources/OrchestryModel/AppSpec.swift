/// What a user asks for: one application, validated and with every default filled in.
/// `AppSpec.parse(_:)` makes it from the original's document shape (`metadata`, `spec`, `scaling`, `healthCheck`).
public struct AppSpec: Hashable, Sendable, Codable {
    /// What the app serves. Only `http` apps are routed by host name; a `worker` has no port.
    public enum Kind: String, Hashable, Sendable, Codable { case http, tcp, worker }
    public enum PullPolicy: String, Hashable, Sendable, Codable { case always, ifNotPresent, never }

    public var name: AppName
    public var labels: [String: String]
    public var kind: Kind
    /// An image reference as the engine takes it: `repository[:tag][@sha256:…]`.
    public var image: String
    public var pullPolicy: PullPolicy
    /// The secret with the registry's user and password; nil: the image is pulled without.
    public var imagePullSecret: SecretName?
    /// Overrides the image's entry point; nil keeps it.
    public var command: [String]?
    /// Overrides the image's default arguments; nil keeps them.
    public var arguments: [String]?
    public var workingDirectory: String?
    public var environment: [EnvironmentVariable]
    /// Empty only for a `worker`. The first is the primary one: routed, and probed by default.
    public var ports: [Port]
    public var resources: Resources
    public var security: Security
    public var volumes: [Volume]
    public var logs: LogOptions?
    /// nil: the network that all apps of a node share.
    public var network: Network?
    public var routing: Routing
    public var termination: Termination
    public var rollout: RolloutPolicy
    public var health: HealthCheck
    /// Tells a container that can't be helped, and is to be replaced, from one that is only not ready. nil: a ready one that
    /// goes on failing `health` is restarted.
    public var liveness: HealthCheck?
    public var scaling: ScalingPolicy

    public init(
        name: AppName, labels: [String: String] = [:], kind: Kind = .http, image: String,
        pullPolicy: PullPolicy = .ifNotPresent, imagePullSecret: SecretName? = nil, command: [String]? = nil,
        arguments: [String]? = nil, workingDirectory: String? = nil, environment: [EnvironmentVariable] = [],
        ports: [Port],
        resources: Resources = Resources(), security: Security = Security(), volumes: [Volume] = [],
        logs: LogOptions? = nil, network: Network? = nil, routing: Routing? = nil,
        termination: Termination = Termination(), rollout: RolloutPolicy = RolloutPolicy(),
        health: HealthCheck? = nil, liveness: HealthCheck? = nil, scaling: ScalingPolicy = ScalingPolicy()
    ) {
        self.name = name
        self.labels = labels
        self.kind = kind
        self.image = image
        self.pullPolicy = pullPolicy
        self.imagePullSecret = imagePullSecret
        self.command = command
        self.arguments = arguments
        self.workingDirectory = workingDirectory
        self.environment = environment
        self.ports = ports
        self.resources = resources
        self.security = security
        self.volumes = volumes
        self.logs = logs
        self.network = network
        self.routing = routing ?? Routing(hosts: [name.rawValue])
        self.termination = termination
        self.rollout = rollout
        self.health = health ?? HealthCheck(kind: ports.isEmpty ? .none : .tcp)
        self.liveness = liveness
        self.scaling = scaling
    }

    /// The port traffic is routed to, 1…65535; nil for a worker.
    public var primaryPort: Int? { ports.first?.containerPort }
}

extension AppSpec {
    public struct EnvironmentVariable: Hashable, Sendable, Codable {
        public enum Source: Hashable, Sendable, Codable {
            case value(String)
            /// Filled in when the container is made: `instance.ip`, `instance.port`, `app.name`, `app.replicas`.
            case sdk(String)
            /// The value of a secret, filled in on the instance's node.
            case secret(SecretName)
        }
        public var name: String
        public var source: Source
        public init(name: String, source: Source) {
            self.name = name
            self.source = source
        }
        /// The keys `source: sdk` may name.
        public static let sdkKeys = ["instance.ip", "instance.port", "app.name", "app.replicas"]
    }

    public struct Port: Hashable, Sendable, Codable {
        public enum Scheme: String, Hashable, Sendable, Codable { case http = "HTTP", tcp = "TCP" }
        /// 1…65535, inside the container.
        public var containerPort: Int
        public var scheme: Scheme
        public var name: String?
        public init(containerPort: Int, scheme: Scheme = .http, name: String? = nil) {
            self.containerPort = containerPort
            self.scheme = scheme
            self.name = name
        }
    }

    /// Hard limits of one instance, reserved on its node when it is placed.
    public struct Resources: Hashable, Sendable, Codable {
        /// Thousandths of a core: 10…16,000 (the original's limits), default 250.
        public var cpuMillicores: Int
        /// 6 MiB (the engine's minimum)…64 GiB, default 256 MiB.
        public var memoryBytes: Int64
        /// Processes and threads, 16…32,768, default 512.
        public var pidsLimit: Int
        public init(cpuMillicores: Int = 250, memoryBytes: Int64 = 256 << 20, pidsLimit: Int = 512) {
            self.cpuMillicores = cpuMillicores
            self.memoryBytes = memoryBytes
            self.pidsLimit = pidsLimit
        }
    }

    public struct Security: Hashable, Sendable, Codable {
        /// `uid[:gid]` or a name inside the image; nil: the image's user, or 65534:65534 where the image names none.
        public var user: String?
        /// Lets an image that insists on root run as root. False unless the spec says so.
        public var allowRoot: Bool
        public var readOnlyRootFilesystem: Bool
        /// Linux capabilities to add after all are dropped, for example `NET_BIND_SERVICE`.
        public var addCapabilities: [String]
        /// nil: the engine's own profile. `Unconfined`: none. Else the name of a file in the node's `engine.seccomp_dir`.
        public var seccompProfile: String?
        /// nil: the engine's own profile. `Unconfined`: none. Else a profile that is loaded on the node.
        public var appArmorProfile: String?
        public init(
            user: String? = nil, allowRoot: Bool = false, readOnlyRootFilesystem: Bool = false,
            addCapabilities: [String] = [], seccompProfile: String? = nil, appArmorProfile: String? = nil
        ) {
            self.user = user
            self.allowRoot = allowRoot
            self.readOnlyRootFilesystem = readOnlyRootFilesystem
            self.addCapabilities = addCapabilities
            self.seccompProfile = seccompProfile
            self.appArmorProfile = appArmorProfile
        }
    }

    public struct Routing: Hashable, Sendable, Codable {
        public enum Method: String, Hashable, Sendable, Codable {
            case leastConnections = "least_conn"
            case ipHash = "ip_hash"
            case random
        }
        /// Host names (lower case, no port) that reach the app; at least one for an `http` app. Default: the app's name.
        public var hosts: [String]
        /// Starts with `/`. Requests under it reach the app unchanged.
        public var pathPrefix: String
        public var method: Method
        /// An additional port of the proxy that serves only this app, 1…65535.
        public var listenPort: Int?
        /// Largest request body, bytes; 0 is unlimited. Default 10 MiB.
        public var maxBodyBytes: Int64
        /// How long the proxy waits for the app between two reads, 1…3,600 s. Default 60.
        public var readTimeoutSeconds: Int
        /// nil: plain HTTP only.
        public var tls: TLS?
        /// Clients that may reach the app, all others get 403; nil: everybody. Never empty.
        public var allow: [AddressRange]?
        /// Clients that get 403 although `allow` may name them; nil: nobody. Never empty.
        public var deny: [AddressRange]?
        /// nil: the app is served.
        public var maintenance: Maintenance?
        public init(
            hosts: [String], pathPrefix: String = "/", method: Method = .leastConnections, listenPort: Int? = nil,
            maxBodyBytes: Int64 = 10 << 20, readTimeoutSeconds: Int = 60, tls: TLS? = nil,
            allow: [AddressRange]? = nil, deny: [AddressRange]? = nil, maintenance: Maintenance? = nil
        ) {
            self.hosts = hosts
            self.pathPrefix = pathPrefix
            self.method = method
            self.listenPort = listenPort
            self.maxBodyBytes = maxBodyBytes
            self.readTimeoutSeconds = readTimeoutSeconds
            self.tls = tls
            self.allow = allow
            self.deny = deny
            self.maintenance = maintenance
        }
    }

    public struct Termination: Hashable, Sendable, Codable {
        /// Longest wait, after every node has stopped routing to an instance, for its requests in flight: 0…3,600 s.
        public var drainSeconds: Int
        /// Between SIGTERM and SIGKILL, 0…600 s.
        public var gracePeriodSeconds: Int
        public init(drainSeconds: Int = 30, gracePeriodSeconds: Int = 10) {
            self.drainSeconds = drainSeconds
            self.gracePeriodSeconds = gracePeriodSeconds
        }
    }

    /// HTTP statuses that count as healthy, both ends included.
    public struct StatusRange: Hashable, Sendable, Codable {
        public var first: Int
        public var last: Int
        public init(first: Int, last: Int) {
            self.first = first
            self.last = last
        }
    }

    /// How the agent finds out whether an instance may receive traffic.
    public struct HealthCheck: Hashable, Sendable, Codable {
        public enum Kind: String, Hashable, Sendable, Codable {
            case http, tcp
            /// A program in the container that ends with 0.
            case command
            /// A running container counts as healthy (workers without a port).
            case none
        }
        public var kind: Kind
        /// 1…65535; nil: the primary port.
        public var port: Int?
        /// HTTP only; starts with `/`.
        public var path: String
        /// `GET` or `POST`.
        public var method: String
        public var headers: [String: String]
        /// Sent with POST; nil: empty.
        public var body: String?
        /// HTTP statuses that count as healthy, beside `expectedStatusRanges`; both empty: 200…399.
        public var expectedStatuses: [Int]
        public var expectedStatusRanges: [StatusRange]
        /// Program and arguments, for kind `command`: never empty there.
        public var command: [String]?
        /// Before the first probe that may *fail* an instance, 0…3,600 s. Probing for readiness begins at once.
        public var initialDelaySeconds: Double
        /// 0.1…3,600 s.
        public var periodSeconds: Double
        /// 0.05…300 s.
        public var timeoutSeconds: Double
        /// Failures in a row that make a ready instance unhealthy, 1…100.
        public var failureThreshold: Int
        /// Successes in a row that make an instance ready, 1…100.
        public var successThreshold: Int
        public init(
            kind: Kind, port: Int? = nil, path: String = "/", method: String = "GET", headers: [String: String] = [:],
            body: String? = nil, expectedStatuses: [Int] = [], expectedStatusRanges: [StatusRange] = [],
            command: [String]? = nil, initialDelaySeconds: Double = 0, periodSeconds: Double = 5,
            timeoutSeconds: Double = 2, failureThreshold: Int = 3, successThreshold: Int = 1
        ) {
            self.kind = kind
            self.port = port
            self.path = path
            self.method = method
            self.headers = headers
            self.body = body
            self.expectedStatuses = expectedStatuses
            self.expectedStatusRanges = expectedStatusRanges
            self.command = command
            self.initialDelaySeconds = initialDelaySeconds
            self.periodSeconds = periodSeconds
            self.timeoutSeconds = timeoutSeconds
            self.failureThreshold = failureThreshold
            self.successThreshold = successThreshold
        }
    }
}

extension AppSpec.HealthCheck {
    /// Whether an HTTP status counts as healthy.
    public func expects(_ status: Int) -> Bool {
        if expectedStatuses.isEmpty, expectedStatusRanges.isEmpty { return (200...399).contains(status) }
        return expectedStatuses.contains(status)
            || expectedStatusRanges.contains { $0.first <= status && status <= $0.last }
    }
}
