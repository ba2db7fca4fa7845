using System.Diagnostics;
using System.Runtime.InteropServices;

namespace KvCache.Processes;

/// <summary>The commands that run programs: ours, whose assemblies lie beside the one that runs, and others of this machine.</summary>
internal static class ProgramCommand
{
    /// <summary>The silo's program: the one place that says where it is.</summary>
    private static string SiloPath => Path.Combine(AppContext.BaseDirectory, "KvCache.Silo.dll");

    /// <summary>Runs the silo.</summary>
    /// <param name="arguments">Command line.</param>
    /// <param name="settings">
    /// Configuration, by key as in <c>KvCache:DataPlane:FrameTimeout</c>. Goes through the environment, as secrets are among it and
    /// command lines are visible to every user of a machine.
    /// </param>
    public static ProcessStartInfo Silo(IEnumerable<string> arguments, IEnumerable<KeyValuePair<string, string>>? settings = null) =>
        Dotnet(SiloPath, arguments, [.. (settings ?? []).Select(setting => (Variable(setting.Key), setting.Value))]);

    /// <summary>Runs another of our programs.</summary>
    /// <param name="assembly">File name of its assembly, in the folder of this program.</param>
    /// <param name="arguments">Command line.</param>
    /// <param name="environment">Variables besides the inherited ones.</param>
    public static ProcessStartInfo Own(string assembly, IEnumerable<string> arguments, params (string Name, string Value)[] environment) =>
        Dotnet(Path.Combine(AppContext.BaseDirectory, assembly), arguments, environment);

    /// <summary>Runs a program of this machine.</summary>
    public static ProcessStartInfo Of(string program, IEnumerable<string> arguments, params (string Name, string Value)[] environment)
    {
        var start = new ProcessStartInfo(program, arguments);
        foreach (var (name, value) in environment)
            start.Environment[name] = value;
        return start;
    }

    /// <summary>Finds an optional program.</summary>
    /// <returns>Its full path, or null when PATH has none.</returns>
    public static string? Find(string name) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "")
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Select(folder => Path.Combine(folder, name))
            .FirstOrDefault(File.Exists);

    private static string Variable(string key) => key.Replace(":", "__", StringComparison.Ordinal);

    private static ProcessStartInfo Dotnet(string path, IEnumerable<string> arguments, (string Name, string Value)[] environment) =>
        Of(Host(), [path, .. arguments], environment);

    // The host that runs this very program: also right where the program was started through its own executable.
    private static string Host()
    {
        var host = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", "..", "dotnet"));
        return File.Exists(host) ? host : "dotnet";
    }
}
