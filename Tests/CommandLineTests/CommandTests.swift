import Foundation
import OrchestryModel
import RestFacade
import Testing

/// What each command asks of the cluster and shows of the answer.
struct CommandTests {
    private static let web = AppName(unchecked: "web")

    struct Row: Sendable, CustomTestStringConvertible {
        var arguments: [String]
        var operation: OrchestryModel.Operation
        var answer: JSONValue
        /// What the table must contain.
        var words: [String]
        var testDescription: String { arguments.joined(separator: " ") }
    }

    private static let decision = ScalingDecision(
        node: NodeID(unchecked: "controller-1"), epoch: Epoch(1), time: WallTime(seconds: 1_795_391_963), app: web,
        fromReplicas: 1, toReplicas: 4, reason: "Scale out: rps at 212% of target", triggeredBy: "autoscaler")
    private static let instance = InstanceStatus(
        instance: InstanceID(unchecked: "web-1-abc123"), app: web, revision: 1, node: NodeID(unchecked: "controller-1"),
        state: .unhealthy, containerID: String(repeating: "0123456789abcdef", count: 4),
        endpoint: Endpoint(host: "172.18.0.3", port: 9010), restarts: 2, message: "probe timed out",
        since: WallTime(seconds: 1))
    private static let application = Application(
        spec: AppSpec(name: web, image: "shop:1.4", ports: [.init(containerPort: 9010)]),
        document: ["type": "http", "image": "shop:1.4"], revision: 5, status: .running, replicas: 3,
        createdAt: WallTime(seconds: 1), updatedAt: WallTime(seconds: 2))

    private static let secret = SecretSummary(
        sealed: SealedSecret(
            name: SecretName(unchecked: "db-password"), version: 4, keyID: "0011223344556677", box: "Ym94"),
        createdAt: WallTime(seconds: 1_795_391_963), updatedAt: WallTime(seconds: 1_795_391_963), updatedBy: "ann")
    private static let running = Presentation.RolloutFigures(
        record: RolloutRecord(
            app: web, revision: 5, from: 4, phase: .canary, startedAt: WallTime(seconds: 1_795_391_963)),
        isActive: true, wanted: 3, updated: 1, ready: 1, old: 3,
        canary: [
            "new": ["requests": 40, "errors": 2, "errorRatePct": 5, "p95LatencyMs": 12.5],
            "old": ["requests": 1, "errors": 0, "errorRatePct": 0, "p95LatencyMs": nil],
        ])

    static let rows = [
        Row(
            arguments: ["up", "web"], operation: .start(web),
            answer: Presentation.started(web, replicas: 2, adopted: 0, started: 2),
            words: ["web: 2 replicas wanted (0 ran already, 2 starting)", "orchestry status web"]),
        Row(
            arguments: ["down", "web"], operation: .stop(web), answer: Presentation.stopped(web, containersStopped: 1),
            words: ["web: stopped (1 container)"]),
        Row(
            arguments: ["delete", "web", "--force"], operation: .delete(web), answer: Presentation.deleted(web),
            words: ["web: deleted"]),
        Row(
            arguments: ["scale", "web", "4"], operation: .scale(web, replicas: 4),
            answer: Presentation.scaled(web, replicas: 4), words: ["web: 4 replicas wanted"]),
        Row(
            arguments: ["scale", "web", "4"], operation: .scale(web, replicas: 4),
            answer: Presentation.scaleNoChange(web, replicas: 4), words: ["4 replicas wanted already"]),
        Row(
            arguments: ["scale", "web", "--replicas", "4", "--for", "2h"],
            operation: .scale(web, replicas: 4, forSeconds: 7_200),
            answer: Presentation.scaled(web, replicas: 4, until: 1_795_000_000),
            words: ["web: 4 replicas wanted, fixed until 2026-"]),
        Row(
            arguments: ["autoscale", "pause", "web", "--in", "--for", "10m"],
            operation: .autoscale(web, AutoscaleChange(.pause, .in, forSeconds: 600)),
            answer: Presentation.autoscaleChanged(
                web, control: ScalingControl(pauseIn: .init(untilSecond: 1_795_000_000, by: "ann"))),
            words: ["web: scale-out on, scale-in paused until 2026-"]),
        Row(
            arguments: ["autoscale", "resume", "web"], operation: .autoscale(web, AutoscaleChange(.resume)),
            answer: Presentation.autoscaleChanged(web, control: ScalingControl()),
            words: ["web: scale-out on, scale-in on."]),
        Row(
            arguments: ["simulate", "--app", "web", "--since", "2h"],
            operation: .simulate(web, SimulationRequest(sinceSeconds: 7_200, startSeconds: 2)),
            answer: ["text": "POLICY  SHORT", "chart": "<svg/>"], words: ["POLICY  SHORT"]),
        Row(
            arguments: ["list"], operation: .listApps,
            answer: Presentation.appList([Presentation.appListEntry(application, readyReplicas: 2)]),
            words: [
                "NAME  STATUS   READY  WANTED  MODE  REVISION  IMAGE",
                "web   running  2      3       auto  5         shop:1.4",
            ]),
        Row(
            arguments: ["list"], operation: .listApps, answer: Presentation.appList([]), words: ["orchestry apply FILE"]
        ),
        Row(
            arguments: ["status", "web"], operation: .appStatus(web),
            answer: Presentation.appStatus(
                application, instances: [instance], usage: [instance.instance: (cpu: 12.346, memory: 3)],
                explanation: "One instance is unhealthy."),
            words: [
                "Ready:    0 of 3 wanted", "Note:     One instance is unhealthy.", "172.18.0.3:9010", "12.35%", "3%",
                "unhealthy", "0123456789ab  probe timed out",
            ]),
        Row(
            arguments: ["spec", "web"], operation: .appDocument(web), answer: Presentation.appDocument(application),
            words: ["image: \"shop:1.4\"".replacingOccurrences(of: "\"", with: ""), "revision: 5"]),
        Row(
            arguments: ["spec", "web", "--raw"], operation: .appDocument(web),
            answer: Presentation.appDocument(application), words: ["image: shop:1.4\ntype: http\n"]),
        Row(
            arguments: ["logs", "web", "-n", "5"], operation: .appLogs(web, lines: 5),
            answer: Presentation.logs(
                app: web, totalContainers: 1,
                lines: [
                    .init(
                        timestampSeconds: 1_795_391_963, containerID: "4e85530708540bc2", instance: instance.instance,
                        node: instance.node, message: "listening on 9010")
                ]), words: ["2026-11-22 23:59:23 [4e8553070854] listening on 9010"]),
        Row(
            arguments: ["events", "--app", "web", "--limit", "7"], operation: .events(app: web, limit: 7),
            answer: Presentation.events([
                (
                    id: 1,
                    event: Event(
                        node: instance.node, sequence: 1, time: WallTime(seconds: 1_795_391_963), app: web,
                        kind: .scaled, message: "1 to 4")
                )
            ]), words: ["2026-11-22 23:59:23  web  controller-1  scaled  1 to 4"]),
        Row(
            arguments: ["metrics"], operation: .systemMetrics,
            answer: [
                "cluster": ["leader_id": "controller-2", "cluster_size": 3], "apps": ["total": 2, "running": 1],
                "instances": ["total": 4, "healthy": 3], "nginx": ["error": "Failed to get nginx status"],
            ], words: ["1 running of 2", "3 ready of 4", "Failed to get nginx status"]),
        Row(
            arguments: ["metrics", "web"], operation: .appMetrics(web),
            answer: Presentation.appMetrics(
                app: web,
                observed: .init(
                    rps: 212, p95LatencyMilliseconds: 17.5, activeConnections: 3, cpuPercent: 10, memoryPercent: 5,
                    healthyReplicas: 1, totalReplicas: 1), factors: ["rps": 2.12], scaleInStablePeriods: 0,
                policy: ScalingPolicy(targetRPS: 100), history: [(1, decision)]),
            words: [
                "requests/s       212   100     212%", "1 ready of 1", "1     4   Scale out: rps at 212% of target",
            ]),
        Row(
            arguments: ["why", "web"], operation: .why(web),
            answer: Presentation.why(app: web, summary: ["web has 3 because rps decides.", "More."], evaluations: []),
            words: ["web has 3 because rps decides.\nMore.\n"]),
        Row(
            arguments: ["retry", "web"], operation: .retry(web),
            answer: Presentation.retried(web, instances: [instance.instance]),
            words: ["web: trying again: web-1-abc123."]),
        Row(
            arguments: ["secret", "list"], operation: .listSecrets,
            answer: Presentation.secretList([(secret, [web])]),
            words: ["db-password  4        2026-11-22 23:59:23  ann  0011223344556677  web"]),
        Row(
            arguments: ["secret", "rm", "db-password", "--force"],
            operation: .removeSecret(secret.name, force: true),
            answer: Presentation.secretRemoved(secret.name, heldApps: [web]),
            words: ["db-password: removed.\nNot started any more without it: web"]),
        Row(
            arguments: ["cluster", "step-down"], operation: .stepDown,
            answer: Presentation.steppedDown(NodeID(unchecked: "controller-2"), epoch: Epoch(7)),
            words: ["Node controller-2 no longer leads"]),
        Row(
            arguments: ["status", "web"], operation: .appStatus(web),
            answer: Presentation.appStatus(application, instances: [], rollout: running),
            words: ["Rollout:  running, canary: 1 of 3 ready, 3 old"]),
        Row(
            arguments: ["rollback", "web", "--to", "2"], operation: .rollback(web, to: 2),
            answer: Presentation.rolledBack(web, revision: 6, to: 2, changed: true),
            words: ["web: going back to the content of revision 2, as revision 6", "orchestry rollout status web"]),
        Row(
            arguments: ["rollback", "web"], operation: .rollback(web, to: nil),
            answer: Presentation.rolledBack(web, revision: 6, to: 2, changed: false),
            words: ["the content of 2 already"]),
        Row(
            arguments: ["revisions", "web"], operation: .revisions(web),
            answer: Presentation.revisions(
                web,
                [
                    Presentation.revision(
                        6, image: "shop:1.3", createdAt: WallTime(seconds: 1_795_391_963), isCurrent: true,
                        rollout: RolloutRecord(
                            app: web, revision: 6, from: nil, origin: .automatic, restores: 4, state: .succeeded,
                            reason: "revision 5 made no progress for 120 s", startedAt: WallTime(seconds: 2)))
                ]),
            words: ["REVISION", "6*", "2026-11-22 23:59:23", "shop:1.3", "succeeded", "made no progress for 120 s"]),
        Row(
            arguments: ["rollout", "status", "web"], operation: .rolloutStatus(web),
            answer: Presentation.rollout(web, revision: 5, shown: running),
            words: [
                "Rollout:  running, canary: 1 of 3 ready, 3 old", "From:     4",
                "Canary:   2 of 40 requests failed (5%), p95 12.5 ms", "Old:      0 of 1 request failed (0%)",
            ]),
        Row(
            arguments: ["rollout", "status", "web"], operation: .rolloutStatus(web),
            answer: Presentation.rollout(web, revision: 5, shown: nil), words: ["none"]),
        Row(
            arguments: ["rollout", "pause", "web"], operation: .pauseRollout(web),
            answer: Presentation.rolloutSteered(web, revision: 5, "paused"), words: ["revision 5 is paused."]),
        Row(
            arguments: ["rollout", "resume", "web"], operation: .resumeRollout(web),
            answer: Presentation.rolloutSteered(web, revision: 5, "no_change"), words: ["was not paused"]),
        Row(
            arguments: ["rollout", "abort", "web"], operation: .abortRollout(web),
            answer: Presentation.rolledBack(web, revision: 6, to: 4, changed: true), words: ["content of revision 4"]),
        Row(
            arguments: ["node", "list"], operation: .listNodes,
            answer: Presentation.nodes([
                .init(
                    id: instance.node,
                    info: NodeInfo(
                        id: instance.node, role: .worker, host: "h", clusterPort: 1, apiURL: "http://h"),
                    isConnected: true, isLost: false, engineAvailable: true, capacityMillicores: 2_000,
                    capacityMemoryBytes: 4 << 30, reservedMillicores: 500, reservedMemoryBytes: 512 << 20, instances: 2,
                    scheduling: NodeScheduling(
                        node: instance.node, isCordoned: true, isDraining: true, drainSecondsLeft: 41.7))
            ]),
            words: [
                "controller-1  worker  ready  draining, 41 s left  2          500m of 2000m  512 MiB of 4096 MiB"
            ]),
        Row(
            arguments: ["node", "cordon", "n-1"], operation: .cordonNode(NodeID(unchecked: "n-1")),
            answer: Presentation.nodeScheduled(NodeScheduling(node: NodeID(unchecked: "n-1"), isCordoned: true)),
            words: ["n-1: cordoned"]),
        Row(
            arguments: ["node", "uncordon", "n-1"], operation: .uncordonNode(NodeID(unchecked: "n-1")),
            answer: Presentation.nodeScheduled(NodeScheduling(node: NodeID(unchecked: "n-1"))),
            words: ["n-1: takes instances again"]),
        Row(
            arguments: ["node", "drain", "n-1", "--deadline", "5m"],
            operation: .drainNode(NodeID(unchecked: "n-1"), deadlineSeconds: 300),
            answer: Presentation.nodeScheduled(
                NodeScheduling(
                    node: NodeID(unchecked: "n-1"), isCordoned: true, isDraining: true, drainSecondsLeft: 300)),
            words: ["move to other nodes, within 5m"]),
        Row(
            arguments: ["cluster", "rebalance", "--max-moves", "2"], operation: .rebalance(maxMoves: 2),
            answer: Presentation.rebalancing(maxMoves: 2), words: ["at most 2 moves at once"]),
    ]

    @Test(arguments: rows)
    func `a command and its table`(_ row: Row) async throws {
        let answer = row.answer
        try await FakeServer.run({ _, _ in ControlResponse(body: answer) }) { server in
            let run = try await CommandLineRun.run(row.arguments, server: server.url)
            #expect(run.exitCode == 0, "\(run.errors)")
            #expect(run.errors == "")
            for words in row.words { #expect(run.output.contains(words), "\(run.output)") }
            #expect(server.plane.requests.map(\.operation) == [row.operation])
        }
    }

    @Test(arguments: rows)
    func `the same as JSON and as YAML`(_ row: Row) async throws {
        let answer = row.answer
        try await FakeServer.run({ _, _ in ControlResponse(body: answer) }) { server in
            let json = try await CommandLineRun.run(row.arguments + ["-o", "json"], server: server.url)
            let yaml = try await CommandLineRun.run(row.arguments + ["--output", "yaml"], server: server.url)
            #expect(json.exitCode == 0 && yaml.exitCode == 0)
            let shown = try JSONValue(jsonText: json.output)
            if row.arguments[0] != "spec" { #expect(shown == answer) }
            // What was written as YAML reads as the same document, through the program's own reader.
            if row.arguments == ["list"] {
                let again = try await CommandLineRun.run(["register", "-"], server: server.url, input: yaml.output)
                #expect(again.exitCode == 1)
                #expect(again.errors.contains("apps: is not a known field"), "\(again.errors)")
            }
        }
    }

    @Test(arguments: [
        (["cluster", "status"], ["Leader:      controller-2", "Epoch:       7", "controller-3  follower  yes"]),
        (["cluster"], ["controller-2"]), (["cluster", "leader"], ["http://127.0.0.1:2"]),
        (["cluster", "health"], ["Status:  healthy"]), (["info"], ["Leader:      controller-2", "Apps:        0"]),
    ])
    func `what a node tells of the cluster`(_ arguments: [String], _ words: [String]) async throws {
        try await FakeServer.run({ _, _ in ControlResponse(body: ["apps": []]) }) { server in
            let run = try await CommandLineRun.run(arguments, server: server.url)
            #expect(run.exitCode == 0, "\(run.errors)")
            for words in words { #expect(run.output.contains(words), "\(run.output)") }
        }
    }

    @Test func `watching shows each event once, the older first, over connections that end`() async throws {
        let events = (1...5).map { (number: Int64) in
            NumberedEvent(
                id: number * 10,
                event: Event(
                    node: NodeID(unchecked: "n"), sequence: number, time: WallTime(seconds: 1), app: nil,
                    kind: .scaled, message: "event \(number)"))
        }
        let first = Presentation.events([events[1], events[0]].map { ($0.id, $0.event) })
        try await FakeServer.run(events: events, { _, _ in ControlResponse(body: first) }) { server in
            let run = try await CommandLineRun.run(
                ["events", "--watch", "-o", "json"], server: server.url, until: { $0.contains("event 5") })
            let lines = run.output.split(separator: "\n").compactMap { try? JSONValue(jsonText: String($0)) }
            #expect(lines.map { $0["message"]?.stringValue } == (1...5).map { "event \($0)" })
            #expect(server.plane.requests.count == 1, "it asks again for what it has")
        }
    }
}
