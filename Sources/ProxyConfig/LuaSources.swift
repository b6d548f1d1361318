/// The Lua files a configuration in `.lua` mode loads, kept in the executable.
public enum LuaSources {
    public struct File: Sendable {
        public var name: String
        public var bytes: [UInt8]
    }

    public static let files: [File] = [
        File(name: "orchestry.lua", bytes: PackageResources.orchestry_lua),
        File(name: "orchestry_admin.lua", bytes: PackageResources.orchestry_admin_lua),
        File(name: "orchestry_api.lua", bytes: PackageResources.orchestry_api_lua),
        File(name: "orchestry_hold.lua", bytes: PackageResources.orchestry_hold_lua),
        File(name: "orchestry_membership.lua", bytes: PackageResources.orchestry_membership_lua),
        File(name: "orchestry_region.lua", bytes: PackageResources.orchestry_region_lua),
    ]

    /// 16 hexadecimal digits; part of the configuration, so that other Lua code means a reload.
    static let version = fingerprint(files.map(\.bytes))
}
