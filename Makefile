# SPDX-License-Identifier: MIT
# A thin front: meson does the building. make demo, make check, make bench, make clean.
BUILD = build
PYTHON = /usr/bin/python3
JOBS = 4

all: $(BUILD)/build.ninja
	meson compile -C $(BUILD)

$(BUILD)/build.ninja:
	tests/setup build
	meson setup $(BUILD)

demo:
	tests/setup build
	@$(MAKE) --no-print-directory all
	tests/demo.sh $(BUILD)

# Every test. The last line is pytest's count.
check:
	tests/setup test
	@$(MAKE) --no-print-directory all
	meson test -C $(BUILD) --print-errorlogs
	HARK_BUILD_DIR=$(abspath $(BUILD)) PYTHONDONTWRITEBYTECODE=1 \
		$(PYTHON) -m pytest -c tests/integration/pytest.ini -n $(JOBS) -q tests/integration

bench: all
	tests/bench/run --build-dir $(BUILD)

clean:
	rm -rf $(BUILD)

.PHONY: all demo check bench clean
