using System.ComponentModel;
using System.Diagnostics;
using KvCache.ProcessTests.Infrastructure;

namespace KvCache.ProcessTests;

/// <summary>Runs the tests of python/kvcache against real silos. What Python lacks here skips, and says so.</summary>
public sealed class PythonTests
{
    [Fact]
    public Task The_python_client_passes_its_tests_against_a_silo() =>
        RunAsync(["pytest"], "test_client.py", "test_cache.py", "test_hashing.py", "test_engine_hashes.py", "test_lmcache.py", "test_package.py");

    [Fact]
    public Task The_engine_connectors_pass_their_tests_against_a_silo() =>
        RunAsync(["pytest", "numpy", "torch"], "test_vllm_connector.py", "test_vllm_failures.py", "test_vllm_tier.py", "test_sglang_hicache.py");

    [Fact]
    public Task Python_clients_and_engines_outlive_silos_that_are_killed() =>
        RunAsync(["pytest", "numpy", "torch"], "test_processes.py");

    private static async Task RunAsync(string[] modules, params string[] files)
    {
        var tests = FindFolder();
        Assert.SkipWhen(tests is null, "There is no folder python/tests above this program.");
        var python = FindPython(modules);
        Assert.SkipWhen(python is null, $"There is no Python with {string.Join(", ", modules)} (on Debian: python3-pytest, python3-numpy, python3-torch).");
        await using var silo = await SiloProcess.StartAsync();
        var program = SiloProcess.Command([]);
        // Modules that skip say why (-rs); nothing is written beside the sources.
        var start = new ProcessStartInfo(python, ["-B", "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", .. files.Select(file => Path.Combine(tests, file))])
        {
            WorkingDirectory = Path.GetFullPath(Path.Combine(tests, "../..")),
        };
        start.Environment["KVCACHE_ENDPOINT"] = silo.Tcp;
        start.Environment["KVCACHE_UNIX"] = silo.Unix;
        start.Environment["KVCACHE_DOTNET"] = program.FileName;
        start.Environment["KVCACHE_SILO_DLL"] = program.ArgumentList[0];
        start.Environment["PYTHONDONTWRITEBYTECODE"] = "1";

        var result = await ProgramResult.RunAsync(start, TimeSpan.FromMinutes(5));

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

    // The system's Python first: that is the one which the distribution's packages are for.
    private static string? FindPython(string[] modules) =>
        new[] { "/usr/bin/python3", "python3" }.FirstOrDefault(python => Imports(python, modules));

    private static bool Imports(string python, string[] modules)
    {
        try
        {
            var start = new ProcessStartInfo(python, ["-c", $"import {string.Join(", ", modules)}"]) { RedirectStandardError = true };
            using var process = Process.Start(start)!;
            process.StandardError.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0;
        }
        catch (Win32Exception)
        {
            return false;
        }
    }
}
