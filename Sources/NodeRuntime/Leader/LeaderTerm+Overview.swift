import Autoscaling
import OrchestryModel
import PostgresStore
import RestFacade
import Scheduling

extension LeaderTerm {
    /// Each second for each node that somebody looks at: from memory, and short.
    func overview(within grant: AccessGrant?) -> ControlResponse {
        let second = surroundings.clock.wall().wholeSecond
        let shown = applications.values.filter { grant?.covers($0.name) != false }.sorted { $0.name < $1.name }
        let rows = shown.map { application in
            let name = application.name
            let instances = reconciler.instances(of: name).filter { $0.state != .stopped }
            let observed = observed(application)
            let rollout = reconciler.rolloutView(of: name).flatMap { $0.isActive ? $0 : nil }
            let ready = reconciler.readyCount(of: name)
            let isAsWanted = ready == application.replicas && rollout == nil
            return Presentation.overviewRow(
                application, ready: ready, instances: instances.count,
                observed: observed.ageSeconds == nil ? nil : presented(observed, total: instances.count),
                rollout: rollout.map(Presentation.RolloutFigures.init),
                paused: paused(application.control?.active(at: second)),
                problem: isAsWanted ? nil : reconciler.explain(name).first)
        }
        return ControlResponse(body: Presentation.appList(rows))
    }

    private func paused(_ control: ScalingControl?) -> String? {
        switch (control?.pauseOut != nil, control?.pauseIn != nil) {
        case (true, true): "both"
        case (true, false): "out"
        case (false, true): "in"
        case (false, false): nil
        }
    }
}

extension StateStore {
    /// Answers `Operation.eventsAfter`.
    func numberedEvents(after id: Int64, limit: Int) async throws(StoreError) -> ControlResponse {
        let newest = try await newestEventID()
        let found = limit > 0 ? try await events(after: id, limit: min(limit, 1_000)) : []
        return ControlResponse(
            body: ["newest": .int(newest), "events": .array(found.map { Presentation.event(id: $0.id, $0.event) })])
    }

    /// `GET /apps/{name}/history`: of an app that exists or existed.
    func history(of app: AppName, minutes: Int, now: WallTime) async throws(StoreError) -> ControlResponse {
        let since = WallTime(milliseconds: now.milliseconds - Int64(minutes) * 60_000)
        // One row each ten seconds.
        let rows = try await metrics(app: app, since: since, limit: minutes * 6 + 6)
        let decisions = try await decisions(app: app, limit: 500).filter { $0.decision.time >= since }
        return ControlResponse(
            body: Presentation.history(
                app,
                points: rows.map {
                    Presentation.HistoryPoint(
                        time: $0.time, rps: $0.rps, p95LatencyMilliseconds: $0.latencyP95Milliseconds,
                        cpuPercent: $0.cpuPercent, memoryPercent: $0.memoryPercent,
                        activeConnections: $0.activeConnections, replicas: $0.replicas)
                }, decisions: decisions.reversed().map { ($0.id, $0.decision) }))
    }
}
