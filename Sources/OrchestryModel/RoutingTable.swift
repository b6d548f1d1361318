/// Which endpoints serve which app: computed by the leader, applied by every node's proxy.
public struct RoutingTable: Hashable, Sendable, Codable {
    /// Orders tables: by epoch, then by number. A node never goes back.
    public struct Version: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
        public var epoch: Epoch
        public var number: UInt64
        public init(epoch: Epoch, number: UInt64) {
            self.epoch = epoch
            self.number = number
        }
        public static let zero = Version(epoch: .none, number: 0)
        public static func < (left: Version, right: Version) -> Bool {
            (left.epoch, left.number) < (right.epoch, right.number)
        }
        public var description: String { "\(epoch).\(number)" }
    }

    public struct Target: Hashable, Sendable, Codable {
        public var instance: InstanceID
        public var endpoint: Endpoint
        /// Share of traffic relative to the app's other targets, 1…100.
        public var weight: Int
        public init(instance: InstanceID, endpoint: Endpoint, weight: Int = 1) {
            self.instance = instance
            self.endpoint = endpoint
            self.weight = weight
        }
    }

    /// An app whose last instance goes when nobody asks for it: requests wait in the proxy for the next one.
    public struct Activation: Hashable, Sendable, Codable {
        /// False: none will come, since somebody took the app down. Requests are then answered 503 at once.
        public var holds: Bool
        /// How long a request waits at most, 1…300 s.
        public var holdSeconds: Int
        /// How many wait in one proxy at most, 1…100,000.
        public var holdLimit: Int
        public init(holds: Bool = true, holdSeconds: Int, holdLimit: Int) {
            self.holds = holds
            self.holdSeconds = holdSeconds
            self.holdLimit = holdLimit
        }
    }

    public struct Route: Hashable, Sendable, Codable {
        public var app: AppName
        public var routing: AppSpec.Routing
        /// Sorted by instance; empty: the proxy answers 503 for this app.
        public var targets: [Target]
        /// What `routing.tls` names, as far as it is set: sorted by name, sealed until the proxy's node opens it.
        public var secrets: [SealedSecret]
        /// nil: the app has an instance as long as it is up.
        public var activation: Activation?
        public init(
            app: AppName, routing: AppSpec.Routing, targets: [Target], secrets: [SealedSecret] = [],
            activation: Activation? = nil
        ) {
            self.app = app
            self.routing = routing
            self.targets = targets
            self.secrets = secrets
            self.activation = activation
        }
    }

    public var version: Version
    /// Sorted by app.
    public var routes: [Route]
    public init(version: Version, routes: [Route]) {
        self.version = version
        self.routes = routes
    }
    /// For a node of a release that knows no activation.
    public var withoutActivations: RoutingTable {
        var table = self
        for index in table.routes.indices { table.routes[index].activation = nil }
        return table
    }
    public static let empty = RoutingTable(version: .zero, routes: [])
}
