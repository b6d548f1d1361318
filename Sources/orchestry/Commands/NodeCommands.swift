import ArgumentParser
import OrchestryModel

struct Nodes: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "node", abstract: "Show the nodes, or take one out of use.",
        subcommands: [NodeList.self, NodeCordon.self, NodeUncordon.self, NodeDrain.self],
        defaultSubcommand: NodeList.self)
}

struct NodeList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Show the nodes, what they hold and what is reserved.")
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.get("/nodes")
        } table: { answer in
            Output.table(
                ["NODE", "ROLE", "STATE", "SCHEDULING", "INSTANCES", "CPU", "MEMORY"],
                (answer["nodes"]?.arrayValue ?? []).map { node in
                    ["node_id", "role", "state"].map { Output.cell(node[$0]) } + [scheduling(node)]
                        + [Output.cell(node["instances"]), cores(node), memory(node)]
                })
        }
    }

    private func scheduling(_ node: JSONValue) -> String {
        if node["draining"] == true {
            let left = node["drain_seconds_left"]?.doubleValue.map { ", \(Int($0)) s left" } ?? ""
            return "draining\(left)"
        }
        return node["cordoned"] == true ? "cordoned" : "open"
    }

    private func cores(_ node: JSONValue) -> String {
        "\(Output.cell(node["reserved"]?["cpu_millicores"]))m of \(Output.cell(node["capacity"]?["cpu_millicores"]))m"
    }

    private func memory(_ node: JSONValue) -> String {
        func mebibytes(_ value: JSONValue?) -> String { "\((value?.intValue ?? 0) >> 20) MiB" }
        return "\(mebibytes(node["reserved"]?["memory_bytes"])) of \(mebibytes(node["capacity"]?["memory_bytes"]))"
    }
}

struct NodeCordon: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cordon", abstract: "Place no new instances on a node; what runs there stays.")
    @Argument(help: "The node.", completion: .nodes) var node: String
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.post(APIClient.nodePath(node, "/cordon"))
        } table: { _ in
            "\(node): cordoned."
        }
    }
}

struct NodeUncordon: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "uncordon", abstract: "Place instances on a node again; ends a drain.")
    @Argument(help: "The node.", completion: .nodes) var node: String
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.post(APIClient.nodePath(node, "/uncordon"))
        } table: { _ in
            "\(node): takes instances again."
        }
    }
}

struct NodeDrain: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drain", abstract: "Cordon a node and move its instances to others, one at a time.",
        discussion:
            "An instance leaves when its replacement is ready. What is left at the deadline leaves all the same.")
    @Argument(help: "The node.", completion: .nodes) var node: String
    @Option(help: "How long to wait for replacements: seconds, or with s, m or h (90, 5m, 1h).")
    var deadline: String = "5m"
    @OptionGroup var options: GlobalOptions

    func validate() throws {
        guard Self.seconds(deadline) != nil else {
            throw ValidationError("--deadline must be 1 s to 24 h, such as 90, 5m or 1h, got \(deadline)")
        }
    }

    func run() async throws {
        try await options.show {
            try await $0.post(
                APIClient.nodePath(node, "/drain"), ["deadlineSeconds": JSONValue(Self.seconds(deadline) ?? 300)])
        } table: { _ in
            "\(node): its instances move to other nodes, within \(deadline). Next: orchestry node list"
        }
    }

    /// - Returns: nil unless it is 1…86,400.
    static func seconds(_ text: String) -> Int? {
        let units: [Character: Int] = ["s": 1, "m": 60, "h": 3_600]
        let unit = text.last.flatMap { units[$0] }
        let number = Int(unit == nil ? text[...] : text.dropLast())
        guard let number, (1...86_400).contains(number), (1...86_400).contains(number * (unit ?? 1)) else { return nil }
        return number * (unit ?? 1)
    }
}

struct Rebalance: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rebalance",
        abstract: "Move instances until they are spread evenly over the nodes.",
        discussion: "Forgotten when the leader changes before it is done: ask again then.")
    @Option(help: "Moves at once, 1 to 100.") var maxMoves: Int = 1
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        try await options.show {
            try await $0.post("/cluster/rebalance", ["maxMoves": JSONValue(maxMoves)])
        } table: { answer in
            "Instances are spread evenly, at most \(Output.count(answer["max_moves"], "move")) at once. "
                + "Next: orchestry node list"
        }
    }
}
