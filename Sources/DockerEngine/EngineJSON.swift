import Foundation
import NIOCore

/// The one place where the Engine API's JSON is read and written.
enum EngineJSON {
    static func decode<Value: Decodable>(_ type: Value.Type, from buffer: ByteBuffer) throws -> Value {
        try JSONDecoder().decode(type, from: Data(buffer.readableBytesView))
    }

    static func decode<Value: Decodable>(_ type: Value.Type, from bytes: some Sequence<UInt8>) throws -> Value {
        try JSONDecoder().decode(type, from: Data(bytes))
    }

    /// Keys are sorted: equal values give equal bytes.
    static func encode(_ value: some Encodable) throws -> ByteBuffer {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return ByteBuffer(bytes: try encoder.encode(value))
    }

    static func text(_ value: some Encodable) throws -> String { String(buffer: try encode(value)) }

    /// The `filters` parameter of list calls and of the event stream.
    static func filters(_ filters: [String: [String]]) -> String {
        // Strings in dictionaries and arrays always encode.
        (try? text(filters)) ?? "{}"
    }
}

// What is read of the engine's answers. Anything that Podman, or an older engine, may leave out is optional.

struct RefusalDocument: Decodable {
    var message: String
}

struct VersionDocument: Decodable {
    var Version: String
    var ApiVersion: String
    var KernelVersion: String?
    struct Component: Decodable {
        var Name: String
    }
    var Components: [Component]?
}

struct InfoDocument: Decodable {
    var NCPU: Int
    var MemTotal: Int64
}

struct CreatedDocument: Decodable {
    var Id: String
}

struct ImageDocument: Decodable {
    struct Config: Decodable {
        var User: String?
    }
    var Id: String
    var Config: Config?
    var RepoDigests: [String]?
}

struct DistributionDocument: Decodable {
    struct Content: Decodable {
        var digest: String
    }
    var Descriptor: Content
}

struct NetworkDocument: Decodable {
    struct IPAM: Decodable {
        struct Pool: Decodable {
            var Subnet: String?
            var Gateway: String?
        }
        var Config: [Pool]?
    }
    struct Member: Decodable {
        var IPv4Address: String?
    }
    var Id: String
    var Name: String
    var Created: String?
    var Labels: [String: String]?
    var IPAM: IPAM?
    var Containers: [String: Member]?
}

struct ContainerListDocument: Decodable {
    var Id: String
}

struct ContainerDocument: Decodable {
    struct State: Decodable {
        var Status: String?
        var Running: Bool
        var OOMKilled: Bool?
        var ExitCode: Int
        var Error: String?
        var StartedAt: String?
        var FinishedAt: String?
    }
    struct Config: Decodable {
        var Tty: Bool?
        var Labels: [String: String]?
    }
    struct NetworkSettings: Decodable {
        struct Attachment: Decodable {
            var IPAddress: String?
        }
        struct Binding: Decodable {
            var HostIp: String?
            var HostPort: String?
        }
        var Networks: [String: Attachment]?
        var Ports: [String: [Binding]?]?
    }
    var Id: String
    var State: State
    var Config: Config
    var NetworkSettings: NetworkSettings?
}

struct EventDocument: Decodable {
    struct Actor: Decodable {
        var ID: String
        var Attributes: [String: String]?
    }
    var Action: String
    var Actor: Actor
    var timeNano: Int64?
}

struct PullDocument: Decodable {
    struct Detail: Decodable {
        var current: Int64?
        var total: Int64?
    }
    var id: String?
    var status: String?
    var progressDetail: Detail?
    var error: String?
}

struct StatisticsDocument: Decodable {
    struct CPU: Decodable {
        struct Usage: Decodable {
            var total_usage: UInt64
        }
        var cpu_usage: Usage
    }
    struct Memory: Decodable {
        struct Details: Decodable {
            var total_inactive_file: Int64?
            var inactive_file: Int64?
        }
        var usage: Int64?
        var stats: Details?
    }
    var cpu_stats: CPU
    var memory_stats: Memory
}
