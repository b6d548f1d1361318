import OrchestryModel
import ProxyConfig

func app(_ text: String) -> AppName { AppName(unchecked: text) }
func instance(_ text: String) -> InstanceID { InstanceID(unchecked: text) }

func target(_ name: String, _ host: String = "10.0.0.1", _ port: Int = 8080, weight: Int = 1) -> RoutingTable.Target {
    RoutingTable.Target(instance: instance(name), endpoint: Endpoint(host: host, port: port), weight: weight)
}

func route(
    _ name: String, hosts: [String]? = nil, prefix: String = "/", method: AppSpec.Routing.Method = .leastConnections,
    port: Int? = nil, maxBodyBytes: Int64 = 10 << 20, readTimeoutSeconds: Int = 60,
    targets: [RoutingTable.Target] = []
) -> RoutingTable.Route {
    RoutingTable.Route(
        app: app(name),
        routing: AppSpec.Routing(
            hosts: hosts ?? [name], pathPrefix: prefix, method: method, listenPort: port, maxBodyBytes: maxBodyBytes,
            readTimeoutSeconds: readTimeoutSeconds),
        targets: targets)
}

func table(_ routes: RoutingTable.Route..., number: UInt64 = 1) -> RoutingTable {
    RoutingTable(version: RoutingTable.Version(epoch: Epoch(3), number: number), routes: routes)
}
