using System.Diagnostics;

namespace KvCache.ProcessTests;

public sealed class PythonTests
{
    [Fact]
    public async Task The_python_client_passes_its_tests_against_a_silo()
    {
        var tests = FindFolder();
        Assert.SkipWhen(tests is null, "There is no folder python/tests above this program.");
        Assert.SkipUnless(HasPython(), "python3 is not installed.");
        await using var silo = await SiloProcess.StartAsync();
        var start = new ProcessStartInfo("python3", ["-m", "unittest", "discover", "-s", "python/tests"])
        {
            WorkingDirectory = Path.GetFullPath(Path.Combine(tests, "../..")),
        };
        start.Environment["KVCACHE_ENDPOINT"] = silo.Tcp;
        start.Environment["KVCACHE_UNIX"] = silo.Unix;
        start.Environment["PYTHONDONTWRITEBYTECODE"] = "1";

        var result = await ProgramResult.RunAsync(start, TimeSpan.FromMinutes(2));

        Assert.Equal(0, result.ExitCode);
        silo.AssertHealthy();
    }

    private static string? FindFolder()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "KvCache.sln")))
                return Path.Combine(folder.FullName, "python", "tests") is var tests && Directory.Exists(tests) ? tests : null;
        }

        return null;
    }

    private static bool HasPython()
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo("python3", ["--version"]) { RedirectStandardOutput = true })!;
            process.WaitForExit();
            return process.ExitCode == 0;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return false;
        }
    }
}
