import AccessControl
import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import OrchestryModel

/// The REST facade of a node: reads HTTP, asks the control plane, writes HTTP. Decides nothing about apps itself, but
/// refuses what could never be accepted (a broken body, a document that breaks a rule) without troubling the leader.
package struct RestFacade: Sendable {
    let configuration: RestFacadeConfiguration
    let controlPlane: any ControlPlane
    let identification: any CallerIdentification
    /// nil: plain HTTP.
    let tls: FacadeTLS?
    let logger: Logger
    /// Wall-clock time, for the `timestamp` of local answers.
    let now: @Sendable () -> WallTime
    let streams: StreamSlots

    package init(
        configuration: RestFacadeConfiguration, controlPlane: any ControlPlane,
        identification: any CallerIdentification = Everybody(), tls: FacadeTLS? = nil, logger: Logger,
        now: @escaping @Sendable () -> WallTime = { WallTime(seconds: wallClockSeconds()) }
    ) {
        self.configuration = configuration
        self.controlPlane = controlPlane
        self.identification = identification
        self.tls = tls
        self.logger = logger
        self.now = now
        streams = StreamSlots(configuration.maxStreams)
    }

    /// The facade as a service: listens from when it is run until it is shut down gracefully, which lets requests in
    /// progress finish.
    /// - Parameter onListening: called with the channel once it listens, for the port when 0 was configured.
    package func application(
        onListening: @escaping @Sendable (any Channel) async -> Void = { _ in }
    ) -> some ApplicationProtocol {
        let http = HTTP1Channel.Configuration(
            additionalChannelHandlers: [WebSocketSwitch()], idleTimeout: TimeAmount(configuration.idleTimeout))
        return Application(
            router: router(), server: FacadeChannel.server(http, tls: tls),
            configuration: ApplicationConfiguration(
                address: .hostname(configuration.host, port: configuration.port), serverName: "orchestry"),
            onServerRunning: onListening, logger: logger)
    }

    package func router() -> Router<FacadeContext> {
        let router = Router(context: FacadeContext.self, options: .autoGenerateHeadEndpoints)
        router.add(middleware: FacadeMiddleware(logger: logger))
        router.add(middleware: OriginMiddleware(allowed: configuration.corsOrigins))
        for route in RestRoute.allCases {
            router.on(RouterPath(route.path), method: route.method) { request, context in
                try await admit(route, request, context)
            }
        }
        return router
    }

    /// Answers once it is known who asks, and that they may. Refused writes are noted, whoever refuses them.
    private func admit(_ route: RestRoute, _ request: Request, _ context: FacadeContext) async throws -> Response {
        var context = context
        let address = context.address(request, proxies: configuration.proxies)
        do {
            if route.access != .open {
                switch await identification.identify(
                    authorization: request.headers[.authorization], address: address)
                {
                case .unknown(let problem): throw problem
                case .known(let caller):
                    context.caller = caller
                    if let problem = route.objection(to: caller) { throw problem }
                }
            }
            let response = try await answer(route, request, context)
            if response.status.code >= 400 { note(route, context, address, response.status.code, nil) }
            return response
        } catch let problem as Problem {
            note(route, context, address, problem.status, problem.detail)
            throw problem
        } catch let invalid as ValidationError {
            note(route, context, address, 422, invalid.description)
            throw invalid
        }
    }

    /// A write that could not be carried out now (5xx) is not refused: whoever repeats it gets an entry.
    private func note(
        _ route: RestRoute, _ context: FacadeContext, _ address: String?, _ status: Int, _ reason: String?
    ) {
        // 426: nothing was asked for yet.
        guard route.isWrite, (400..<500).contains(status), status != 426 else { return }
        controlPlane.noteRefusal(
            AuditRecord(
                time: now(), actor: context.caller?.actor ?? "unknown", address: address, node: context.caller?.node,
                operation: route.rawValue, app: context.parameters.get("name").flatMap(AppName.init(rawValue:)),
                outcome: .refused, status: status, reason: reason))
    }

    private func answer(_ route: RestRoute, _ request: Request, _ context: FacadeContext) async throws -> Response {
        switch route {
        case .register, .plan, .start, .stop, .scale, .autoscale, .retry, .setPolicy, .simulateMetrics, .simulate,
            .deleteApp,
            .stepDown, .listApps,
            .appStatus, .appDocument, .appMetrics, .why, .events, .listSecrets, .showSecret, .setSecret,
            .removeSecret, .rollback, .pauseRollout, .resumeRollout, .abortRollout, .rolloutStatus, .revisions,
            .listNodes, .cordonNode, .uncordonNode, .drainNode, .rebalance, .backup, .restore, .listSettings,
            .changeSettings, .listTokens, .revokeToken, .audit, .usageOfApps, .appHistory:
            return try await ask(route, request, context)
        case .createToken: return try await createToken(request, context)
        case .appLogs:
            guard try flag(request, "follow") else { return try await ask(route, request, context) }
            return try await logStream(of: app(context), tail: logLines(request), request, context)
        case .exec:
            return try await exec(request, context)
        case .eventStream:
            return try await eventStream(request, context)
        case .dashboard, .dashboardFile:
            return try Dashboard.response(to: request, file: context.parameters.get("file"))
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
