import Autoscaling
import NodeConfiguration
import OrchestryModel
import PostgresStore
import RestFacade
import Scheduling

/// Reads are answered from memory: what the leader holds is at least as new as what PostgreSQL has.
extension LeaderTerm {
    func read(_ request: ControlRequest) async -> ControlResponse? {
        do {
            if case .plan(let documents) = request.operation { return try await plan(documents, request) }
            return try await answer(request.operation, within: request.caller?.grant)
        } catch let problem as Problem {
            return ControlResponse(problem)
        } catch let error as StoreError {
            return ControlResponse(.storeUnavailable("\(error)"))
        } catch {
            return ControlResponse(.storeUnavailable("\(error)"))
        }
    }

    private func application(_ name: AppName) throws -> Application {
        guard let application = applications[name] else { throw Problem.appNotFound(name) }
        return application
    }

    /// - Parameter grant: of the caller; nil: everything is shown.
    private func answer(_ operation: Operation, within grant: AccessGrant?) async throws -> ControlResponse {
        switch operation {
        case .listApps:
            return ControlResponse(
                body: Presentation.appList(
                    applications.values.filter { grant?.covers($0.name) != false }.sorted { $0.name < $1.name }.map {
                        Presentation.appListEntry($0, readyReplicas: reconciler.readyCount(of: $0.name))
                    }))
        case .appStatus(let name):
            let application = try application(name)
            return ControlResponse(
                body: Presentation.appStatus(
                    application, instances: reconciler.instances(of: name), usage: usage,
                    explanation: explain(application).joined(separator: " "),
                    rollout: reconciler.rolloutView(of: name).map(Presentation.RolloutFigures.init),
                    waiting: waitingRequests(of: application)))
        case .appDocument(let name): return ControlResponse(body: Presentation.appDocument(try application(name)))
        case .appMetrics(let name): return try await metrics(of: try application(name))
        case .appLogs(let name, let lines): return try await logs(of: try application(name), lines: lines)
        case .events(let app, let limit):
            return ControlResponse(
                body: Presentation.events(
                    try await surroundings.store.events(app: app, among: grant?.apps, limit: limit).map {
                        ($0.id, $0.event)
                    }))
        case .systemMetrics: return await systemMetrics()
        case .why(let name): return why(try application(name))
        case .simulate(let name, let request): return try await simulate(request, for: try application(name))
        case .listSecrets: return listSecrets()
        case .showSecret(let name): return try showSecret(name)
        case .rolloutStatus(let name): return rolloutStatus(of: try application(name))
        case .revisions(let name): return try await revisions(of: try application(name))
        case .listNodes: return listNodes()
        case .backup:
            return try await Backups.make(
                from: surroundings.store, cluster: surroundings.configuration.cluster, at: surroundings.clock.wall())
        case .listSettings:
            return try await RuntimeSettings.list(from: surroundings.store, over: surroundings.configuration)
        case .usageOfApps: return usageOfApps(within: grant)
        case .overview: return overview(within: grant)
        case .eventsAfter(let id, let limit):
            return try await surroundings.store.numberedEvents(after: id, limit: limit)
        case .followLog, .exec:
            throw Problem(
                status: 400, code: "not-for-the-leader", title: "Not for the leader",
                detail: "Output is followed, and commands are run, on the node where the instance runs.")
        case .appHistory(let name, let minutes):
            return try await surroundings.store.history(
                of: try application(name).name, minutes: minutes, now: surroundings.clock.wall())
        case .listTokens: return try await listTokens()
        case .tokensInForce: return try await tokensForNode()
        case .audit(let app, let after, let limit, let isRaw):
            return try await audit(app: app, after: after, limit: limit, isRaw: isRaw)
        default: preconditionFailure("read a write: \(operation)")  // `perform` sends writes elsewhere.
        }
    }

    /// Why the app has the replicas it has, in sentences.
    private func explain(_ application: Application) -> [String] {
        var sentences: [String] = []
        if application.status == .stopped {
            let refusal = application.spec.scaling.scaleToZero == nil ? "" : " Requests don't start it."
            sentences.append("The app is stopped: start it with `orchestry up \(application.name)`.\(refusal)")
        } else if let evaluation = surroundings.scaling.with({ $0.recentEvaluations(application.name).last }) {
            sentences += evaluation.words
            sentences += controlWords(of: application)
            let ready = reconciler.replicaView(of: application.name).ready.keys
            let percents = ready.compactMap { id in (usage[id]?.cpu).map { (id, $0) } }
            if let hot = HotInstance(Dictionary(percents, uniquingKeysWith: { first, _ in first })) {
                sentences.append(hot.words)
            }
        }
        return sentences + reconciler.explain(application.name)
    }

    private func why(_ application: Application) -> ControlResponse {
        let recent = surroundings.scaling.with { $0.recentEvaluations(application.name).suffix(60) }
        return ControlResponse(
            body: Presentation.why(
                app: application.name, summary: explain(application), evaluations: recent.reversed().map(\.explanation))
        )
    }

    func observed(_ application: Application) -> ObservedMetrics {
        let ready = reconciler.readyCount(of: application.name)
        let second = surroundings.clock.wall().wholeSecond
        return surroundings.scaling.with {
            $0.observed(application.name, policy: application.spec.scaling, ready: ready, at: second)
        }
    }

    func presented(_ observed: ObservedMetrics, total: Int) -> Presentation.ObservedMetrics {
        Presentation.ObservedMetrics(
            rps: observed.rps, p95LatencyMilliseconds: observed.p95LatencyMilliseconds,
            activeConnections: observed.connections, cpuPercent: observed.cpuPercent,
            memoryPercent: observed.memoryPercent, healthyReplicas: observed.ready, totalReplicas: total)
    }

    private func metrics(of application: Application) async throws -> ControlResponse {
        let observed = observed(application)
        let history = try await surroundings.store.decisions(app: application.name, limit: 20)
        let evaluations = surroundings.scaling.with { $0.recentEvaluations(application.name) }
        // Seconds in a row in which the load called for fewer replicas than there are.
        let stable = evaluations.reversed().prefix { $0.wish < $0.current }.count
        let factors = Dictionary(
            observed.factors.compactMap { factor in factor.factor.map { (factor.metric.rawValue, $0) } },
            uniquingKeysWith: { first, _ in first })
        return ControlResponse(
            body: Presentation.appMetrics(
                app: application.name,
                observed: observed.ageSeconds == nil
                    ? nil : presented(observed, total: reconciler.instances(of: application.name).count),
                factors: factors, scaleInStablePeriods: stable, policy: application.spec.scaling,
                history: history.map { ($0.id, $0.decision) }))
    }

    private func logs(of application: Application, lines: Int) async throws -> ControlResponse {
        let instances = reconciler.instances(of: application.name).filter { $0.containerID != nil }
        guard !instances.isEmpty else {
            throw Problem(
                status: 404, code: "app-not-running", title: "The app is not running",
                detail: "App \(application.name) has no containers to read logs from.")
        }
        let fetch = surroundings.fetchLogs
        let gathered = await withTaskGroup(of: [Presentation.LogLine].self) { group in
            for status in instances {
                group.addTask {
                    await fetch(status.node, status.instance, lines).map {
                        Presentation.LogLine(
                            timestampSeconds: $0.time.seconds, containerID: $0.container, instance: status.instance,
                            node: status.node, message: $0.text)
                    }
                }
            }
            var all: [Presentation.LogLine] = []
            for await part in group { all += part }
            return all
        }
        return ControlResponse(
            body: Presentation.logs(
                app: application.name, totalContainers: instances.count,
                lines: gathered.sorted { ($0.timestampSeconds, $0.instance) < ($1.timestampSeconds, $1.instance) }))
    }

    private func systemMetrics() async -> ControlResponse {
        let view = await surroundings.clusterView()
        let counters = await surroundings.proxyStatus()
        return ControlResponse(
            body: Presentation.systemMetrics(
                now: surroundings.clock.wall(), cluster: view, totalApps: applications.count,
                runningApps: applications.values.count { $0.status == .running },
                instances: applications.keys.sorted().flatMap { reconciler.instances(of: $0) }, proxy: counters))
    }

    /// One app's figures for the metrics page.
    struct AppGauges: Sendable {
        var app: AppName
        var wanted: Int
        var ready: Int
        var observed: ObservedMetrics
    }

    func appGauges() -> [AppGauges] {
        applications.values.sorted { $0.name < $1.name }.map {
            AppGauges(
                app: $0.name, wanted: $0.replicas, ready: reconciler.readyCount(of: $0.name), observed: observed($0))
        }
    }
}
