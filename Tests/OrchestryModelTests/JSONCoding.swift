import Foundation
import OrchestryModel

func jsonEncoded(_ value: some Encodable) throws -> [UInt8] { Array(try JSONEncoder().encode(value)) }

func jsonDecoded<Value: Decodable>(_ type: Value.Type, _ document: JSONValue) throws -> Value {
    try JSONDecoder().decode(type, from: Data(document.jsonText().utf8))
}
