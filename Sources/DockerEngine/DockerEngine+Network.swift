import Foundation
import Logging
import NIOCore
import NIOHTTP1
import OrchestryModel

extension DockerEngine {
    private static let networkAttempts = 30
    /// Far longer than a probe network lives, clocks of two machines apart included.
    private static let probeIsStaleAfter = Duration.seconds(300)

    /// Makes the cluster's bridge network unless it is there. Safe when several nodes do it at the same time.
    ///
    /// The engine does not keep network names unique, but no two networks can have the same bridge interface: that name,
    /// derived from the network's, decides who wins. The address range is given explicitly (fixed addresses need that);
    /// which range is free on this host the engine tells by making a short-lived network first.
    package func ensureNetwork() async throws(EngineError) {
        await removeStaleProbes(olderThan: Self.probeIsStaleAfter)
        try await ensureNetwork(configuration.network, app: nil)
    }

    /// The network that an app's containers need; see `ensureNetwork()`.
    package func ensureNetwork(for spec: AppSpec) async throws(EngineError) {
        guard spec.isIsolated else { return try await ensureNetwork() }
        try await ensureNetwork(configuration.network(of: spec), app: spec.name)
    }

    private func ensureNetwork(_ name: String, app: AppName?) async throws(EngineError) {
        let operation = "make network \(name)"
        var failure = EngineError(.conflict, operation: operation, message: "no attempt was made")
        for attempt in 0..<Self.networkAttempts {
            if attempt > 0 { try await pause(operation) }
            if try await networkDocument(name, operation) != nil { return }
            do {
                let subnet = try await freeSubnet(operation)
                try await createNetwork(name, subnet: subnet, bridge: Self.bridgeName(name), app: app, operation)
                logger.info("network made", metadata: ["network": "\(name)", "subnet": "\(subnet ?? "")"])
                return
            } catch  where [.conflict, .serverError, .notFound].contains(error.code) {
                // Another node was faster, or somebody took the range or, for a moment, the last one: look again.
                failure = error
            }
        }
        if failure.message.contains("address pool") {
            failure.message += """
                . Every range of the engine is taken: remove networks nobody uses (docker network prune), or give it more \
                (default-address-pools in daemon.json)
                """
        }
        throw failure
    }

    /// Takes away networks of single apps that no container uses: engines have room for few. Nodes of this cluster that
    /// share the engine make theirs again if it was about to be used.
    /// - Parameter app: whose; nil: of all apps.
    package func removeUnusedNetworks(of app: AppName? = nil) async {
        let operation = "remove unused networks"
        do {
            for network in try await networks(operation) {
                guard network.Labels?[ContainerLabels.cluster] == configuration.cluster.rawValue,
                    let owner = network.Labels?[ContainerLabels.app], app == nil || owner == app?.rawValue,
                    // Lists leave out who is connected.
                    try await networkDocument(network.Name, operation)?.Containers?.isEmpty ?? true
                else { continue }
                try await removeNetwork(network.Id, operation)
                logger.info("network removed", metadata: ["network": "\(network.Name)"])
            }
        } catch {
            // In use again, most likely; looked at again later.
            logger.debug("unused networks were not all removed", metadata: ["error": "\(error)"])
        }
    }

    /// - Returns: nil when there is no network of exactly that name.
    func networkDocument(_ name: String, _ operation: String) async throws(EngineError) -> NetworkDocument? {
        // By list: a lookup by name would also take ids and prefixes of them.
        let list = try await networks(operation)
        guard let entry = list.first(where: { $0.Name == name }) else { return nil }
        // Lists leave out who is connected.
        do {
            return try await get(NetworkDocument.self, operation, "/networks/\(entry.Id)")
        } catch  where error.code == .notFound {
            return nil
        }
    }

    /// An address for a container of a network that nobody uses at the moment.
    func freeAddress(on name: String, _ operation: String) async throws(EngineError) -> String {
        guard let network = try await networkDocument(name, operation) else {
            throw EngineError(.notFound, operation: operation, message: "network \(name) not found")
        }
        var taken = Set((network.Containers ?? [:]).values.compactMap { $0.IPv4Address.flatMap(AddressRange.address) })
        for pool in network.IPAM?.Config ?? [] {
            taken.formUnion([pool.Gateway.flatMap(AddressRange.address)].compactMap(\.self))
            guard let range = pool.Subnet.flatMap({ AddressRange($0) }) else { continue }
            var generator = SystemRandomNumberGenerator()
            if let address = range.freeAddress(taken: taken, using: &generator) { return AddressRange.text(address) }
        }
        throw EngineError(
            .serverError, operation: operation, message: "network \(name) has no free IPv4 address")
    }

    /// Those with the network's name in theirs.
    private func networks(_ operation: String) async throws(EngineError) -> [NetworkDocument] {
        try await get(
            [NetworkDocument].self, operation, "/networks",
            query: [("filters", EngineJSON.filters(["name": [configuration.network]]))])
    }

    private var probePrefix: String { "\(configuration.network)-probe-" }

    /// Takes away what nodes of this cluster left behind that were killed while they looked for a free range: each holds
    /// one of the few that engines have.
    package func removeStaleProbes(olderThan age: Duration) async {
        let operation = "remove left-over networks"
        do {
            for network in try await networks(operation) where network.Name.hasPrefix(probePrefix) {
                guard network.Labels?[ContainerLabels.cluster] == configuration.cluster.rawValue,
                    let created = network.Created.flatMap(EngineTime.parse),
                    Date().timeIntervalSince1970 - created.seconds > Double(age.components.seconds)
                else { continue }
                try await removeNetwork(network.Id, operation)
            }
        } catch {
            // The next one finds them again.
            logger.debug("left-over networks could not be removed", metadata: ["error": "\(error)"])
        }
    }

    /// Lets the engine choose a range by making a network without one, which is removed again.
    private func freeSubnet(_ operation: String) async throws(EngineError) -> String? {
        let id = try await createNetwork(
            probePrefix + String(UInt64.random(in: 0 ... .max), radix: 36), subnet: nil, bridge: nil, app: nil,
            operation)
        let document: NetworkDocument
        do {
            document = try await get(NetworkDocument.self, operation, "/networks/\(id)")
        } catch {
            try await removeNetwork(id, operation)
            throw error
        }
        try await removeNetwork(id, operation)
        return document.IPAM?.Config?.compactMap(\.Subnet).first { $0.contains(".") }
    }

    private func removeNetwork(_ id: String, _ operation: String) async throws(EngineError) {
        try await send(operation, .DELETE, "/networks/\(id)", accepting: [404])
    }

    @discardableResult
    private func createNetwork(
        _ name: String, subnet: String?, bridge: String?, app: AppName?, _ operation: String
    ) async throws(EngineError) -> String {
        var options = bridge.map { ["com.docker.network.bridge.name": $0] } ?? [:]
        // Docker keeps networks apart by itself; Podman those that both ask for it.
        if try await version().isPodman { options["isolate"] = "true" }
        var labels = [ContainerLabels.cluster: configuration.cluster.rawValue]
        if let app { labels[ContainerLabels.app] = app.rawValue }
        let document = NetworkCreateDocument(
            Name: name, CheckDuplicate: true, Driver: "bridge",
            IPAM: subnet.map { .init(Driver: "default", Config: [.init(Subnet: $0)]) },
            Options: options,
            Labels: labels)
        let answer = try await send(
            operation, .POST, "/networks/create", body: try encode(document, operation),
            timeout: configuration.startTimeout)
        return try decode(CreatedDocument.self, answer.body, operation).Id
    }

    /// 13 characters (an interface's name has at most 15): `orc` and a 40-bit hash (FNV-1a, folded) of the network's name.
    static func bridgeName(_ network: String) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in network.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
        let digits = String((hash ^ (hash >> 40)) & 0xff_ffff_ffff, radix: 16)
        return "orc" + String(repeating: "0", count: 10 - digits.count) + digits
    }
}

private struct NetworkCreateDocument: Encodable {
    struct IPAMDocument: Encodable {
        struct Pool: Encodable {
            var Subnet: String
        }
        var Driver: String
        var Config: [Pool]
    }
    var Name: String
    var CheckDuplicate: Bool
    var Driver: String
    var IPAM: IPAMDocument?
    var Options: [String: String]
    var Labels: [String: String]
}
