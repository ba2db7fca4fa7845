namespace KvCache.Bench.Processes;

/// <summary>Finds optional programs.</summary>
internal static class ProgramPath
{
    /// <returns>The full path of the program, or null when PATH has none.</returns>
    public static string? Find(string name) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "")
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Select(folder => Path.Combine(folder, name))
            .FirstOrDefault(File.Exists);
}
