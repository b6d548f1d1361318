import DockerEngine
import Foundation
import HealthProbes
import Leadership
import Logging
import MetricsCache
import NIOCore
import NIOPosix
import NodeConfiguration
import OrchestryModel
import PeerTransport
import PostgresStore
import ProxyConfig
import ProxyControl
import RestFacade
import WireProtocol

/// Late binding for callbacks of parts that are made before the node that they call.
final class NodeReference: Sendable {
    // Set once, in `Node.make`, before anything can call back.
    nonisolated(unsafe) weak var node: Node?
}

extension Node {
    /// Opens this node's files and makes its parts; starts nothing yet.
    /// - Throws: when the data folder, the outbox or the certificates can't be used; says what to do.
    package static func make(configuration: NodeConfiguration, logger: Logger) throws -> Node {
        var logger = logger
        logger[metadataKey: "node"] = "\(configuration.node.id)"
        try FileManager.default.createDirectory(
            atPath: configuration.dataDirectory, withIntermediateDirectories: true)
        return try Node(configuration: configuration, logger: logger, reference: NodeReference())
    }

    /// The configured times, and the rest in proportion to them, so that a fast profile is fast throughout.
    /// - Throws: `ConfigurationError` when they don't fit together.
    static func electionSettings(_ configuration: NodeConfiguration) throws(ConfigurationError) -> LeadershipSettings {
        // A worker has no part in elections.
        guard configuration.node.role == .controller else { return LeadershipSettings() }
        var settings = LeadershipSettings()
        settings.heartbeatInterval = configuration.heartbeatInterval
        settings.promise = configuration.promise
        settings.leaseTTL = configuration.leaseTTL
        settings.renewInterval = configuration.renewInterval
        settings.voteHold = min(settings.voteHold, configuration.promise / 2)
        settings.acquireRetry = min(settings.acquireRetry, configuration.promise / 2)
        settings.leaseRequestTimeout = min(settings.leaseRequestTimeout, configuration.leaseTTL / 5)
        settings.storeProbeInterval = max(settings.storeProbeInterval, configuration.leaseTTL)
        let violations = settings.violations()
        guard violations.isEmpty else {
            throw ConfigurationError(problems: violations.map { "leadership: \($0)" })
        }
        return settings
    }

    static func storeConfiguration(_ configuration: NodeConfiguration) -> StoreConfiguration {
        StoreConfiguration(
            connectionString: configuration.postgresConnection,
            replicaConnectionString: configuration.replicaConnection, replicaMaxLag: configuration.replicaMaxLag,
            poolSize: configuration.postgresPoolSize,
            applicationName: "orchestry \(configuration.node.id)")
    }

    static func transportConfiguration(_ configuration: NodeConfiguration) -> PeerTransportConfiguration {
        let security: PeerTransportConfiguration.Security =
            switch configuration.security {
            case .mutualTLS(let ca, let certificate, let key):
                .mutualTLS(caPath: ca, certificatePath: certificate, keyPath: key)
            case .plain(let secret): .plain(sharedSecret: secret)
            }
        var transport = PeerTransportConfiguration(
            me: configuration.node, cluster: configuration.cluster, listenHost: configuration.node.host,
            listenPort: configuration.node.clusterPort,
            peers: configuration.controllers.filter { $0.key != configuration.node.id }.mapValues {
                PeerAddress(host: $0.host, port: $0.port)
            },
            security: security)
        transport.tlsKeyLogPath = configuration.tlsKeyLogPath
        return transport
    }

    static func makeKeeper(
        _ configuration: NodeConfiguration, clock: NodeClock, transport: PeerTransport, _ reference: NodeReference,
        logger: Logger
    ) -> CertificateKeeper? {
        guard case .mutualTLS(let ca, let certificate, let key) = configuration.security else { return nil }
        return CertificateKeeper(
            files: .init(authorities: ca, certificate: certificate, key: key), node: configuration.node.id,
            interval: configuration.certificateCheckInterval, logger: logger,
            now: { Date(timeIntervalSince1970: clock.wall().seconds) }, use: { try await transport.use($0) },
            record: { reference.node?.record($0, nil, $1, $2) })
    }

    static func facadeConfiguration(_ configuration: NodeConfiguration) -> RestFacadeConfiguration {
        var proxies: Set<String> = []
        if configuration.proxyAPIHost != nil || configuration.proxyAPIPort != nil {
            // Any node's nginx passes requests on to any facade.
            proxies = Set(configuration.controllers.values.map(\.host)).union(["127.0.0.1", "::1"])
        }
        return RestFacadeConfiguration(
            host: configuration.apiHost, port: configuration.apiPort, maxBodyBytes: configuration.maxBodyBytes,
            corsOrigins: configuration.access.corsOrigins, proxies: proxies, version: version)
    }

    static func engineConfiguration(_ configuration: NodeConfiguration) -> EngineConfiguration {
        EngineConfiguration(
            socketPath: configuration.engineSocket, cluster: configuration.cluster, node: configuration.node.id,
            network: configuration.engineNetwork,
            endpointMode: configuration.endpointMode == .published
                ? .published(hostAddress: configuration.node.host) : .container,
            logOptions: ["max-size": configuration.logMaxSize, "max-file": String(configuration.logMaxFiles)],
            policy: hostPolicy(configuration))
    }

    static func hostPolicy(_ configuration: NodeConfiguration) -> HostPolicy {
        HostPolicy(bindAllow: configuration.bindAllow, seccompFolder: configuration.seccompFolder)
    }

    static func makeProxy(
        _ configuration: NodeConfiguration, _ reference: NodeReference, logger: Logger
    ) -> NginxController? {
        guard configuration.proxyEnabled else { return nil }
        var settings = ProxySettings(
            folder: configuration.dataDirectory + "/proxy", listenHost: configuration.proxyHost,
            listenPort: configuration.proxyPort, httpsPort: configuration.proxyHTTPSPort)
        settings.trustedProxies = configuration.proxyTrusted.map(\.rawValue)
        settings.shutdownSeconds = Int(configuration.proxyShutdownTimeout.components.seconds)
        if configuration.proxyAPIHost != nil || configuration.proxyAPIPort != nil {
            settings.api = ProxyLayout.API(
                host: configuration.proxyAPIHost, port: configuration.proxyAPIPort,
                ownHost: FacadeAnnouncer.address(configuration.apiHost), ownPort: configuration.apiPort,
                maxBodyBytes: configuration.maxBodyBytes)
        }
        settings.binary = configuration.proxyBinary
        settings.workerProcesses = configuration.proxyWorkers
        settings.mode =
            switch configuration.proxyMode {
            case .auto: .auto
            case .lua: .lua
            case .plain: .plain
            }
        return NginxController(
            settings: settings, logger: logger, onEvent: { reference.node?.proxyChanged($0) })
    }

    static func makeReachWatch(
        _ configuration: NodeConfiguration, clock: NodeClock, pool: TaskPool, group: any EventLoopGroup,
        _ reference: NodeReference, logger: Logger
    ) -> ReachWatch {
        let cutter = ConnectionCutter(folder: configuration.dataDirectory, logger: logger)
        let id = configuration.node.id
        return ReachWatch(
            clock: clock, pool: pool,
            attempt: { await ConnectionAttempt.isAnswered(byHostOf: $0, within: $1, on: group) },
            cut: { await cutter.cut($0) }, onChange: { reference.node?.applier.localChange() },
            tell: { host, instances, isLost in
                let names: JSONValue = .array(instances.map { .string($0.rawValue) })
                let list = instances.map(\.rawValue).joined(separator: ", ")
                reference.node?.record(
                    isLost ? .hostUnreachable : .hostReachable, nil,
                    isLost
                        ? "\(host) does not answer \(id) any more: its proxy leaves out \(list) until it does"
                        : "\(host) answers \(id) again: its proxy takes \(list) back in",
                    ["host": .string(host), "instances": names])
            })
    }

    /// What a leader's term gets of this node.
    func surroundings(_ controller: ControllerParts) -> LeaderTerm.Surroundings {
        let leadership = controller.leadership
        return LeaderTerm.Surroundings(
            me: configuration.node, clock: clock, store: controller.store, scaling: scaling,
            secretKeys: configuration.secretKeys, hostPolicy: Self.hostPolicy(configuration),
            configuration: configuration, settings: { [settings] in settings.current },
            reviewer: ImageReviewer(
                engine: engine, keys: configuration.secretKeys, scanCommand: configuration.scanCommand, logger: logger),
            logger: logger,
            isActive: { leadership.isActive($0) },
            sendCommand: { [weak self] node, command, epoch in self?.send(command, epoch: epoch, to: node) },
            publish: { [weak self] table, node in self?.publish(table, to: node) },
            record: { [weak self] kind, app, message, details in self?.record(kind, app, message, details) },
            recordDecision: { [weak self] decision in await self?.recordDecision(decision) },
            keepRecords: { [metrics, logger] lines in
                do {
                    try await metrics.append(lines)
                } catch {
                    logger.debug("Evaluations are not recorded", metadata: ["error": "\(error)"])
                }
            },
            pastSamples: { [metrics, logger] since in
                do {
                    return try await metrics.samples(sinceSecond: since)
                } catch {
                    logger.warning(
                        "The metrics cache can't be read: windows begin with what is in memory",
                        metadata: ["error": "\(error)"])
                    return []
                }
            },
            history: { [metrics] app, since in try await ScalingHistory.read(app, since: since, from: metrics) },
            fetchPage: { [pages] endpoint, path in await pages.fetch(endpoint, path) },
            fetchLogs: { [weak self] node, instance, tail in
                await self?.fetchLogs(node: node, instance: instance, tail: tail) ?? []
            },
            connectedPeers: { [transport] in transport.connectedPeers },
            requestInventories: { [weak self] in
                guard let self else { return }
                pool.add { await self.sendInventory() }
            },
            clusterView: { [weak self] in await self?.clusterView() ?? .empty },
            proxyStatus: { [proxy] in
                // nil where there is no proxy or it does not answer: the page says so.
                guard let status = try? await proxy?.readStatus() else { return nil }
                return Presentation.ProxyCounters(
                    activeConnections: Int64(clamping: status.activeConnections),
                    accepts: Int64(clamping: status.accepted), handled: Int64(clamping: status.handled),
                    requests: Int64(clamping: status.requests), reading: Int64(clamping: status.reading),
                    writing: Int64(clamping: status.writing), waiting: Int64(clamping: status.waiting))
            },
            stepDown: { leadership.submit(.stepDown) },
            fenced: { [weak self] epoch in self?.endTerm(of: epoch) })
    }

    private func send(_ command: InstanceCommand, epoch: Epoch, to node: NodeID) {
        if node == id {
            pool.add { await self.obey(command, epoch: epoch, from: self.id, correlation: 0) }
        } else {
            transport.send(.instanceCommand(epoch: epoch, command: command), to: node)
        }
    }

    private func publish(_ table: RoutingTable, to node: NodeID?) {
        if node == nil || node == id {
            pool.add {
                guard await self.agent.admit(.routingTable, of: table.version.epoch) else { return }
                await self.applier.receive(table)
            }
        }
        if node == id { return }
        for peer in transport.connectedPeers where node == nil || peer.id == node {
            let knows = transport.supports(PeerFeatures.activation, peer.id)
            transport.send(.routingTable(knows ? table : table.withoutActivations), to: peer.id)
        }
    }

    /// Called by the applier when a version is in effect here.
    func acknowledge(_ version: RoutingTable.Version) {
        if let term = currentTerm {
            term.submit(.routingAcknowledged(id, version))
        } else if let leader, leader != id {
            transport.send(.routingAck(version), to: leader)
        }
    }
}
