import ArgumentParser
import OrchestryModel

struct Cluster: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cluster",
        abstract: "Show the cluster, change its leader, or spread its instances evenly.",
        subcommands: [ClusterStatus.self, ClusterLeader.self, ClusterHealth.self, StepDown.self, Rebalance.self],
        defaultSubcommand: ClusterStatus.self)
}

struct ClusterStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "status", abstract: "Show the nodes and the lease.")
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.get("/cluster/status")
        } table: { answer in
            var facts = [
                ("Answered by", Output.cell(answer["node_id"])), ("Leader", Output.cell(answer["leader_id"])),
                ("Epoch", Output.cell(answer["term"])),
            ]
            if let lease = answer["lease"], lease != .null {
                facts.append(("Lease until", "\(Output.time(lease["expires_at"])) (\(Output.cell(lease["mode"])))"))
            }
            return Output.facts(facts) + "\n\n"
                + Output.table(
                    ["NODE", "STATE", "HEALTHY", "ROLE", "API", "LAST HEARD"],
                    (answer["nodes"]?.arrayValue ?? []).map { node in
                        ["node_id", "state", "is_healthy", "role", "api_url"].map { Output.cell(node[$0]) }
                            + [Output.time(node["last_heartbeat"])]
                    })
        }
    }
}

struct ClusterLeader: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "leader", abstract: "Show the leader.")
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.get("/cluster/leader")
        } table: { answer in
            Output.facts([
                ("Leader", Output.cell(answer["leader_id"])), ("API", Output.cell(answer["api_url"])),
                ("Epoch", Output.cell(answer["term"])), ("Lease until", Output.time(answer["lease_expires_at"])),
            ])
        }
    }
}

struct ClusterHealth: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "health", abstract: "Show whether the node asked knows a leader.")
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.get("/cluster/health")
        } table: { answer in
            Output.facts([
                ("Status", Output.cell(answer["status"])), ("Node", Output.cell(answer["node_id"])),
                ("State", Output.cell(answer["state"])), ("Leader", Output.cell(answer["leader_id"])),
                ("Nodes", Output.cell(answer["cluster_size"])), ("Version", Output.cell(answer["version"])),
            ])
        }
    }
}

struct StepDown: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "step-down", abstract: "Make the leader give up its lease; another node takes over.")
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.post("/cluster/step-down")
        } table: { answer in
            answer["message"]?.stringValue ?? "\(Output.cell(answer["node_id"])) no longer leads."
        }
    }
}
