import OrchestryModel
import RestFacade
import Testing

struct PresentationTests {
    private let web = AppName(unchecked: "web")
    private let observed = Presentation.ObservedMetrics(
        rps: 1_100.404, p95LatencyMilliseconds: 17, activeConnections: 2.6, cpuPercent: 1, memoryPercent: nil,
        healthyReplicas: 1, totalReplicas: 2)

    private func expect(_ shape: JSONValue, _ answer: JSONValue, sourceLocation: SourceLocation = #_sourceLocation) {
        let differences = RecordedShapes.differences(shape, answer)
        #expect(differences.isEmpty, sourceLocation: sourceLocation)
    }

    @Test func `the comparison finds what is missing or of another type`() {
        #expect(RecordedShapes.differences(["a": 1, "b": ["c": "x"]], ["a": 1, "b": ["c": "y"], "d": 1]).isEmpty)
        #expect(RecordedShapes.differences(["a": 1, "b": ["c": "x"]], ["a": "1", "b": [:]]).count == 2)
        #expect(RecordedShapes.differences([["a": 1]], [["a": 1], ["a": true]]).count == 1)
    }

    @Test func `answers to writes`() {
        expect(RecordedShapes.registered, Presentation.registered(web, revision: 1))
        expect(RecordedShapes.started, Presentation.started(web, replicas: 1, adopted: 0, started: 1))
        expect(RecordedShapes.stopped, Presentation.stopped(web, containersStopped: 2))
        expect(RecordedShapes.deleted, Presentation.deleted(web))
        expect(RecordedShapes.scaled, Presentation.scaled(web, replicas: 3))
        expect(RecordedShapes.scaled, Presentation.scaleNoChange(web, replicas: 3))
        expect(RecordedShapes.policyUpdated, Presentation.policyUpdated(web, posted: ["maxReplicas": 4]))
        #expect(Presentation.registered(web, revision: 1)["message"] == "Application registered successfully")
        #expect(Presentation.deleted(web)["message"] == "Application web deleted successfully")
        #expect(Presentation.scaleNoChange(web, replicas: 3)["status"] == "no_change")
    }

    @Test func `events that tell of trouble say of which kind, and what is done about it`() {
        for kind in EventKind.allCases {
            let event = Event(
                node: NodeID(unchecked: "n"), time: WallTime(seconds: 1), app: web, kind: kind, message: "m")
            let shown = Presentation.event(id: 1, event)
            #expect(shown["category"]?.stringValue == kind.category?.rawValue)
            #expect((shown["recovery"]?.stringValue?.isEmpty == false) == (kind.category != nil))
        }
    }

    @Test func `apps`() throws {
        let app = try Samples.application()
        expect(RecordedShapes.appList, Presentation.appList([Presentation.appListEntry(app, readyReplicas: 1)]))
        expect(RecordedShapes.appDocument, Presentation.appDocument(app))
        #expect(Presentation.appDocument(app)["raw"] == app.document)
        #expect(Presentation.appDocument(app)["parsed"]?["created_at"] == 1_795_391_963.911)
        #expect(Presentation.appListEntry(app, readyReplicas: 1)["last_scaled_at"] == .null)
    }

    @Test func `an app's status`() throws {
        let instances = [
            Samples.instance(2, .draining), Samples.instance(1, .ready), Samples.instance(3, .stopped),
            Samples.instance(4, .unhealthy),
        ]
        let answer = Presentation.appStatus(
            try Samples.application(), instances: instances,
            usage: [instances[1].instance: (cpu: 12.5, memory: 0.7873)], explanation: "One instance is unhealthy.")
        expect(RecordedShapes.appStatus, answer)
        #expect(answer["replicas"] == 2)
        #expect(answer["ready_replicas"] == 1)
        #expect(answer["desired_replicas"] == 2)
        let shown = try #require(answer["instances"]?.arrayValue)
        #expect(shown.map { $0["state"] } == ["ready", "draining", "unhealthy"])
        #expect(shown[0]["container_id"] == "1e8553070854")
        #expect(shown[0]["cpu_percent"] == 12.5)
        #expect(shown[0]["measured"] == true)
        #expect(shown[1]["measured"] == false)
    }

    @Test func `an instance without a container yet`() throws {
        var pending = Samples.instance(1, .pending)
        pending.containerID = nil
        pending.endpoint = nil
        let answer = Presentation.appStatus(try Samples.application(), instances: [pending])
        let instance = try #require(answer["instances"]?.arrayValue?.first)
        #expect(instance["container_id"] == .null)
        #expect(instance["ip"] == .null)
        #expect(instance["port"] == .null)
    }

    @Test func `metrics of an app`() throws {
        let decision = ScalingDecision(
            node: Samples.node(1).id, sequence: 6, epoch: Epoch(2), time: WallTime(seconds: 1_795_392_050.797),
            app: web, fromReplicas: 1, toReplicas: 4, reason: "Scale out: rps at 212% of target",
            triggeredBy: "autoscaler", metrics: observed.json, explanation: ["limit": "none"])
        let answer = Presentation.appMetrics(
            app: web, observed: observed, factors: ["rps": 110.0404, "connections": 0.01249, "memory": 0.006],
            scaleInStablePeriods: 0, policy: try Samples.application().spec.scaling, history: [(6, decision)])
        expect(RecordedShapes.appMetrics, answer)
        let metrics = answer["metrics"]
        #expect(metrics?["metrics"]?["rps"] == 1_100.4)
        #expect(metrics?["metrics"]?["active_connections"] == 3)
        #expect(metrics?["scale_factors"]?["connections"] == 0.012)
        #expect(metrics?["policy"]?["target_rps_per_replica"] == 100)
        #expect(
            answer["scaling_history"]?.arrayValue?.first?["trigger_reason"]
                == "Scale out: rps at 212% of target (triggered by: autoscaler)")
        expect(
            RecordedShapes.noMetrics,
            Presentation.appMetrics(
                app: web, observed: nil, factors: [:], scaleInStablePeriods: 0, policy: ScalingPolicy(), history: []))
    }

    @Test func `simulated metrics`() {
        let outcome = Presentation.EvaluationOutcome(
            shouldScale: true, targetReplicas: 4, reason: "Scale out", factors: ["rps": 183.3338])
        expect(
            RecordedShapes.simulated,
            Presentation.simulated(app: web, added: observed, evaluation: outcome, scaledFrom: 1))
        expect(
            RecordedShapes.simulatedOnly,
            Presentation.simulated(app: web, added: observed, evaluation: nil, scaledFrom: nil))
    }

    @Test func `logs and events`() {
        let line = Presentation.LogLine(
            timestampSeconds: 1_795_392_036.772972, containerID: "4e85530708540bc2e7b79f33801769de",
            instance: Samples.instance(1, .ready).instance, node: Samples.node(1).id, message: "listening")
        let answer = Presentation.logs(app: web, totalContainers: 1, lines: [line])
        expect(RecordedShapes.logs, answer)
        #expect(answer["logs"]?.arrayValue?.first?["container"] == "4e8553070854")
        let event = Event(
            node: Samples.node(1).id, sequence: 9, time: WallTime(seconds: 5), app: web, kind: .scaled, message: "m")
        let shown = Presentation.events([(id: 42, event: event)])["events"]?.arrayValue?.first
        #expect(shown?["event_type"] == "scaled")
        #expect(shown?["id"] == "42")
        #expect(shown?["timestamp"] == 5.0)
    }

    @Test func `the cluster`() throws {
        let now = WallTime(seconds: 1_795_391_963.701)
        expect(RecordedShapes.clusterStatus, Presentation.clusterStatus(Samples.view()))
        #expect(Presentation.clusterStatus(Samples.view())["nodes"]?.arrayValue?.first?["port"] == 8101)
        expect(RecordedShapes.clusterLeader, try #require(Presentation.clusterLeader(Samples.view())))
        expect(
            RecordedShapes.clusterHealth, Presentation.clusterHealth(Samples.view(), now: now, version: "1.0.0"))
        expect(RecordedShapes.health, Presentation.health(now: now, version: "1.0.0"))
        let leaderless = Samples.view(leader: nil)
        #expect(Presentation.clusterLeader(leaderless) == nil)
        #expect(Presentation.clusterHealth(leaderless, now: now, version: "1")["cluster_ready"] == false)
        // The lease on record is the previous leader's.
        #expect(Presentation.clusterLeader(Samples.view(leader: 3))?["lease_expires_at"] == .null)
    }

    @Test func `the system's metrics`() {
        let counters = Presentation.ProxyCounters(
            activeConnections: 1, accepts: 3, handled: 3, requests: 3, reading: 0, writing: 1, waiting: 0)
        let instances = [Samples.instance(1, .ready), Samples.instance(2, .unhealthy), Samples.instance(3, .stopped)]
        func answer(_ proxy: Presentation.ProxyCounters?) -> JSONValue {
            Presentation.systemMetrics(
                now: WallTime(seconds: 1.5), cluster: Samples.view(), totalApps: 2, runningApps: 1,
                instances: instances, proxy: proxy)
        }
        expect(RecordedShapes.systemMetrics, answer(counters))
        expect(RecordedShapes.systemMetricsWithoutProxy, answer(nil))
        #expect(answer(counters)["instances"] == ["total": 2, "healthy": 1, "unhealthy": 1])
        #expect(answer(counters)["health_checks"]?["healthy_targets"] == 1)
    }
}
