import ArgumentParser
import Foundation
import Measuring

/// How a leader's work grows with the cluster.
struct GrowthCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "growth",
        abstract: "A leader's work in a simulated cluster of 100 nodes, 1,000 apps, 10,000 instances; exponents.",
        discussion: """
            The reconciler, the wire codec and the autoscaler of a leader, driven in this process: nodes and instances are \
            messages, containers always start. The cluster is a tenth, a third and the whole of what is asked for, nodes \
            and apps alike. An exponent is the slope of the logarithm of a figure over that of the number of instances: 1 \
            is linear, 2 is what every node telling of every app costs. Each app gets requests on three nodes; the others \
            report zeros, as nodes do. One core.
            """)

    @Option(help: "Nodes.") var nodes = 100
    @Option(help: "Apps.") var apps = 1_000
    @Option(help: "Instances of each app.") var replicas = 10
    @Option(help: "Seconds of the apps' windows.") var window = 20
    @Option(help: "Seconds and changes that are measured at each size.") var repetitions = 20
    @OptionGroup var output: OutputOptions

    func validate() throws {
        try require((30...1_000).contains(nodes), "--nodes must be 30 to 1000")
        try require((30...10_000).contains(apps), "--apps must be 30 to 10000")
        try require((1...100).contains(replicas), "--replicas must be 1 to 100")
        try require((2...600).contains(window) && repetitions > 0, "--window must be 2 to 600, --repetitions above 0")
    }

    func run() throws {
        var sizes: [SimulatedLeader.Figures] = []
        for part in [0.1, 0.316, 1] {
            let size = (nodes: Int((Double(nodes) * part).rounded()), apps: Int((Double(apps) * part).rounded()))
            progress("\(size.nodes) nodes, \(size.apps) apps, \(size.apps * replicas) instances")
            var leader = SimulatedLeader(nodes: size.nodes, apps: size.apps, replicas: replicas)
            sizes.append(try leader.measure(window: window, repetitions: repetitions))
        }
        try report(sizes)
    }

    private func report(_ sizes: [SimulatedLeader.Figures]) throws {
        var report = Report(
            "growth",
            setting: "up to \(nodes) nodes, \(apps) apps, \(apps * replicas) instances, \(window) s windows, "
                + "\(repetitions) repetitions")
        let columns = sizes.map { "\($0.nodes)/\($0.apps)/\(Report.format(Double($0.instances)))" }
        var table = Report.Table("by nodes/apps/instances", columns: columns + ["exponent", "± 2 errors"])
        for position in sizes[0].values.indices {
            let values = sizes.map { $0.values[position].value }
            let points = zip(sizes, values).map { (log(Double($0.instances)), log(max($1, 1e-9))) }
            let slope = Slope(points)
            table.add(
                sizes[0].values[position].name,
                values + [slope?.perUnit, slope.map { $0.standardError * 2 }])
        }
        report.tables = [table]
        let last = sizes[sizes.count - 1]
        report.notes = [
            "at the largest size the leader's seconds take \(Report.format(last.millisecondsASecond / 10))% of one core",
            "medians over the repetitions, but for what happens once; no network, no containers, no PostgreSQL",
        ]
        try output.finish(report)
    }
}
