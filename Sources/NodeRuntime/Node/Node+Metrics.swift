import Authentication
import Autoscaling
import Foundation
import MetricsCache
import NodeConfiguration
import OrchestryModel
import PeerTransport
import PostgresStore
import ProxyConfig
import ProxyControl
import RestFacade
import Synchronization

/// This node's metrics in Prometheus' text format 0.0.4.
extension Node {
    func prometheusText() async -> String {
        var text = PrometheusText()
        let view = await clusterView()
        let node = ["node": id.rawValue]
        text.gauge(
            "orchestry_node_info", "Constant 1; the labels tell the release and the role",
            ["node": id.rawValue, "version": Self.version, "role": "\(configuration.node.role)"], 1)
        text.gauge("orchestry_leader", "1 on the node that leads", node, view.leader == id ? 1 : 0)
        text.gauge(
            "orchestry_leader_known", "1 while this node knows who leads", node, view.leader == nil ? 0 : 1)
        text.gauge("orchestry_epoch", "Highest epoch seen", node, Double(view.epoch.rawValue))
        text.gauge(
            "orchestry_peers_connected", "Peers with both connections up", node, Double(transport.connectedPeers.count))
        addStorage(to: &text, node)
        addTransport(to: &text)
        await addInstances(to: &text, node)
        await addProxy(to: &text, node)
        await addApps(to: &text)
        text.addProcess()
        return text.rendered
    }

    private func addStorage(to text: inout PrometheusText, _ node: [String: String]) {
        if let store = controller?.store {
            text.gauge(
                "orchestry_store_available", "1 while PostgreSQL can be connected to", node, store.isAvailable ? 1 : 0)
        }
        let waiting = outbox.counts
        text.gauge(
            "orchestry_outbox_events", "Events that PostgreSQL does not have yet", node, Double(waiting.events))
        text.gauge(
            "orchestry_outbox_decisions", "Decisions that PostgreSQL does not have yet", node, Double(waiting.decisions)
        )
        let dropped = state.withLock { $0.droppedSamples }
        text.counter("orchestry_samples_dropped_total", "Samples that could not be kept on disk", node, Double(dropped))
        text.counter(
            "orchestry_authentication_failures_total", "Requests with wrong credentials", node,
            Double(access.gatekeeper.failures))
        let counts = recorder.counts
        for (kind, count) in counts.sorted(by: { $0.key < $1.key }) {
            var labels = node
            labels["type"] = kind
            labels["category"] = EventKind(rawValue: kind)?.category?.rawValue ?? "none"
            text.counter(
                "orchestry_events_total", "Events of this node since it started; the category tells what went wrong",
                labels, Double(count))
        }
    }

    private func addInstances(to text: inout PrometheusText, _ node: [String: String]) async {
        guard let inventory = await agent.inventory() else { return }
        text.gauge(
            "orchestry_engine_available", "1 when the container engine answers", node, inventory.engineAvailable ? 1 : 0
        )
        for kind in InstanceState.allCases {
            let count = inventory.instances.count { $0.state == kind }
            text.gauge(
                "orchestry_instances", "Instances of this node by state",
                node.merging(["state": kind.label]) { first, _ in first }, Double(count))
        }
    }

    private func addProxy(to text: inout PrometheusText, _ node: [String: String]) async {
        guard let proxy else { return }
        // Not there: the gauge says so, and the families that can't be read are left out.
        let status = try? await proxy.readStatus()
        text.gauge("orchestry_proxy_up", "1 while nginx answers", node, status == nil ? 0 : 1)
        text.counter(
            "orchestry_proxy_reloads_total", "Reloads of nginx by this process: none for a change of endpoints", node,
            Double(proxy.reloads))
        if let status {
            text.gauge(
                "orchestry_proxy_connections", "Client connections open at nginx", node,
                Double(status.activeConnections))
        }
        guard let counters = try? await proxy.readCounters() else { return }
        for (app, counts) in counters.apps.sorted(by: { $0.key < $1.key }) {
            text.add(counts, labels: node.merging(["app": app.rawValue]) { first, _ in first })
        }
    }

    /// The leader's view.
    private func addApps(to text: inout PrometheusText) async {
        for row in await currentTerm?.appGauges() ?? [] {
            let labels = ["app": row.app.rawValue]
            text.gauge("orchestry_app_replicas_wanted", "Replicas the app should have", labels, Double(row.wanted))
            text.gauge("orchestry_app_replicas_ready", "Replicas that are ready", labels, Double(row.ready))
            text.gauge(
                "orchestry_app_requests_per_second", "Requests a second over the window", labels, row.observed.rps)
            if let p95 = row.observed.p95LatencyMilliseconds {
                text.gauge("orchestry_app_latency_p95_seconds", "95th percentile over the window", labels, p95 / 1000)
            }
            if let cpu = row.observed.cpuPercent {
                text.gauge("orchestry_app_cpu_percent", "Mean percent of the CPU limit", labels, cpu)
            }
            if let memory = row.observed.memoryPercent {
                text.gauge("orchestry_app_memory_percent", "Mean percent of the memory limit", labels, memory)
            }
        }
    }
}

extension PrometheusText {
    /// What nginx has counted of one app.
    fileprivate mutating func add(_ counts: ProxyCounters.App, labels: [String: String]) {
        for (index, count) in counts.statusClasses.enumerated() {
            counter(
                "orchestry_requests_total", "Requests answered by this node's nginx",
                labels.merging(["class": "\(index + 1)xx"]) { first, _ in first }, Double(count))
        }
        gauge(
            "orchestry_requests_in_flight", "Requests being answered, open WebSockets included", labels,
            Double(counts.inFlight))
        histogram(
            "orchestry_request_duration_seconds",
            "From the choice of an instance to the end of the response; upgraded connections are not in it", labels,
            counts.latency, sumSeconds: Double(counts.requestMicroseconds) / 1_000_000)
    }

    /// The families every Prometheus client library offers.
    fileprivate mutating func addProcess() {
        // No /proc, no figures: the rest of the page does not depend on them.
        guard let status = try? String(contentsOfFile: "/proc/self/stat", encoding: .utf8),
            // The name in parentheses may hold spaces.
            let fields = status.split(separator: ")").last?.split(separator: " "), fields.count > 21,
            let user = Double(fields[11]), let system = Double(fields[12]), let pages = Double(fields[21]),
            let threads = Double(fields[17])
        else { return }
        let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
        counter("process_cpu_seconds_total", "Processor time of this process", [:], (user + system) / ticks)
        gauge(
            "process_resident_memory_bytes", "Memory of this process", [:], pages * Double(sysconf(Int32(_SC_PAGESIZE)))
        )
        gauge("process_threads", "Threads of this process", [:], threads)
        if let files = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd") {
            gauge("process_open_fds", "File descriptors of this process", [:], Double(files.count))
        }
    }
}
