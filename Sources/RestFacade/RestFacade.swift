import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import OrchestryModel

/// The REST facade of a node: reads HTTP, asks the control plane, writes HTTP. Decides nothing about apps itself, but
/// refuses what could never be accepted (a broken body, a document that breaks a rule) without troubling the leader.
package struct RestFacade: Sendable {
    let configuration: RestFacadeConfiguration
    let controlPlane: any ControlPlane
    let logger: Logger
    /// Wall-clock time, for the `timestamp` of local answers.
    let now: @Sendable () -> WallTime

    package init(
        configuration: RestFacadeConfiguration, controlPlane: any ControlPlane, logger: Logger,
        now: @escaping @Sendable () -> WallTime = { WallTime(seconds: wallClockSeconds()) }
    ) {
        self.configuration = configuration
        self.controlPlane = controlPlane
        self.logger = logger
        self.now = now
    }

    /// The facade as a service: listens from when it is run until it is shut down gracefully, which lets requests in
    /// progress finish.
    /// - Parameter onListening: called with the channel once it listens, for the port when 0 was configured.
    package func application(
        onListening: @escaping @Sendable (any Channel) async -> Void = { _ in }
    ) -> some ApplicationProtocol {
        let idle = TimeAmount(configuration.idleTimeout)
        return Application(
            router: router(), server: .http1(configuration: .init(idleTimeout: idle)),
            configuration: ApplicationConfiguration(
                address: .hostname(configuration.host, port: configuration.port), serverName: "orchestry"),
            onServerRunning: onListening, logger: logger)
    }

    package func router() -> Router<FacadeContext> {
        let router = Router(context: FacadeContext.self, options: .autoGenerateHeadEndpoints)
        router.add(middleware: FacadeMiddleware(logger: logger))
        for route in RestRoute.allCases {
            router.on(RouterPath(route.path), method: route.method) { request, context in
                try await answer(route, request, context)
            }
        }
        return router
    }

    private func answer(_ route: RestRoute, _ request: Request, _ context: FacadeContext) async throws -> Response {
        switch route {
        case .register, .plan, .start, .stop, .scale, .autoscale, .retry, .setPolicy, .simulateMetrics, .simulate,
            .deleteApp,
            .stepDown, .listApps,
            .appStatus, .appDocument, .appLogs, .appMetrics, .why, .events, .listSecrets, .showSecret, .setSecret,
            .removeSecret, .rollback, .pauseRollout, .resumeRollout, .abortRollout, .rolloutStatus, .revisions,
            .listNodes, .cordonNode, .uncordonNode, .drainNode, .rebalance, .usageOfApps:
            return try await ask(route, request, context)
        case .systemMetrics:
            guard ContentNegotiation.prefersPrometheus(request.headers[.accept]) else {
                return try await ask(route, request, context)
            }
            return await prometheus()
        case .prometheusMetrics:
            return await prometheus()
        case .clusterStatus:
            return .json(Presentation.clusterStatus(await controlPlane.clusterView()))
        case .clusterLeader:
            let view = await controlPlane.clusterView()
            guard let leader = Presentation.clusterLeader(view) else {
                throw Problem.noLeader("Node \(view.me.id) knows no leader now; one is elected within seconds.")
            }
            return .json(leader)
        case .clusterHealth:
            let view = await controlPlane.clusterView()
            return .json(Presentation.clusterHealth(view, now: now(), version: configuration.version))
        case .health:
            return .json(Presentation.health(now: now(), version: configuration.version))
        case .openAPI:
            return Response(
                status: .ok, headers: [.contentType: "application/json"],
                body: ResponseBody(byteBuffer: ByteBuffer(bytes: Self.openAPIDocument)))
        }
    }

    private func prometheus() async -> Response {
        .text(await controlPlane.prometheusText(), contentType: "text/plain; version=0.0.4; charset=utf-8")
    }

    /// The bytes of `Resources/openapi.json`.
    package static var openAPIDocument: [UInt8] { PackageResources.openapi_json }
}
