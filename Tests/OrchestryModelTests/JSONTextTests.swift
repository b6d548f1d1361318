import OrchestryModel
import Testing

struct JSONTextTests {
    private static let readable: [(String, JSONValue)] = [
        ("null", .null), (" true ", true), ("-0", 0), ("9223372036854775807", .int(.max)),
        ("-9223372036854775808", .int(.min)), ("9223372036854775808", .double(9_223_372_036_854_775_808)),
        ("1.0", .double(1)), ("1e3", .double(1000)), ("-2.5E-1", .double(-0.25)), ("\"\"", ""),
        (#""a\"\\\/\b\f\n\r\tb""#, "a\"\\/\u{8}\u{c}\n\r\tb"), (#""\u00e9\ud83d\ude00""#, "é😀"), ("\"é😀\"", "é😀"),
        ("[]", []), ("[1,[2],{}]", [1, [2], [:]]), ("{\"a\":{\"b\":[null]}}", ["a": ["b": [.null]]]),
        ("\u{FEFF}{}", [:]),
    ]
    @Test(arguments: readable)
    func `reads`(_ text: String, _ expected: JSONValue) throws {
        #expect(try JSONValue(jsonText: text) == expected)
    }

    @Test(arguments: [
        ("", 0, 1, 1), ("{\"replicas\":", 12, 1, 13), ("{\n \"a\": 1,\n}", 11, 3, 1), ("[1 2]", 3, 1, 4),
        ("01", 0, 1, 1), ("1.", 2, 1, 3), ("-", 1, 1, 2), ("tru", 0, 1, 1), ("nulls", 4, 1, 5), ("\"a", 0, 1, 1),
        ("\"\u{1}\"", 1, 1, 2), (#""\x""#, 1, 1, 2), (#""\ud800""#, 1, 1, 2), (#""\udc00""#, 1, 1, 2),
        (#""\u00+1""#, 3, 1, 4), ("{a:1}", 1, 1, 2), ("{\"a\":1,\"a\":2}", 7, 1, 8), ("1e999", 0, 1, 1),
        ("[1] x", 4, 1, 5), ("'a'", 0, 1, 1), ("[1,]", 3, 1, 4), ("NaN", 0, 1, 1),
    ])
    func `refuses, naming the place`(_ text: String, offset: Int, line: Int, column: Int) {
        let error = #expect(throws: JSONSyntaxError.self) { try JSONValue(jsonText: text) }
        #expect(error?.offset == offset)
        #expect(error?.line == line)
        #expect(error?.column == column)
    }

    @Test func `refuses bytes that are not UTF-8`() {
        #expect(throws: JSONSyntaxError.self) { try JSONValue(json: [0x22, 0xFF, 0x22]) }
        #expect(throws: JSONSyntaxError.self) { try JSONValue(json: Array("\"\\n".utf8) + [0xC0, 0x80, 0x22]) }
    }

    @Test func `nesting is limited, not the stack's problem`() throws {
        let deepest = String(repeating: "[", count: 128) + String(repeating: "]", count: 128)
        _ = try JSONValue(jsonText: deepest)
        let error = #expect(throws: JSONSyntaxError.self) {
            try JSONValue(jsonText: String(repeating: "[", count: 1_000_000))
        }
        #expect(error?.message.contains("128") == true)
    }

    @Test func `writes sorted, escaped and with doubles that stay doubles`() throws {
        let value: JSONValue = ["b": [1, 2.0, .double(.nan), .null], "a": "q\"\\\n\u{1f}é", "c": [:], "d": []]
        #expect(value.jsonText() == #"{"a":"q\"\\\n\u001fé","b":[1,2.0,null,null],"c":{},"d":[]}"#)
        #expect(
            JSONValue(dictionaryLiteral: ("a", [1]), ("b", [:])).jsonText(pretty: true)
                == "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}")
    }

    @Test func `reading back what was written gives the same`() throws {
        var random = SeededGenerator(seed: 7)
        for seed in 0..<500 {
            let value = RandomJSON.value(&random, depth: 4)
            #expect(try JSONValue(jsonText: value.jsonText()) == value, "run \(seed)")
            #expect(try JSONValue(jsonText: value.jsonText(pretty: true)) == value, "run \(seed)")
        }
    }

    @Test func `a damaged document is an error or a value, never a trap`() throws {
        let original = Array(Fixtures.document.jsonBytes())
        var random = SeededGenerator(seed: 11)
        for _ in 0..<3_000 {
            var bytes = original
            for _ in 0...Int.random(in: 0...3, using: &random) {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0...2, using: &random) {
                case 0: bytes[place] = UInt8.random(in: .min ... .max, using: &random)
                case 1: bytes.remove(at: place)
                default: bytes = Array(bytes[..<max(1, place)])
                }
            }
            do {
                let value = try JSONValue(json: bytes)
                let again = try JSONValue(json: value.jsonBytes())
                #expect(again == value)
            } catch {
                #expect((0...bytes.count).contains(error.offset))
            }
        }
    }
}
